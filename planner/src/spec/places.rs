//! Where the objects of a spec stand in its files.

use std::collections::BTreeMap;

use super::diag::{Place, place};
use super::model::Spec;
use super::resolve::ResolvedKeyspace;
use super::source::Sources;
use crate::lint::rules::About;

/// Places by object: `commerce`, `commerce.product`, `changes`.
#[derive(Debug, Clone, Default)]
pub struct Places {
    objects: BTreeMap<String, Place>,
    /// Tables' `CREATE TABLE` statements.
    statements: BTreeMap<String, Place>,
    /// Of the cluster's name: what is missing altogether is shown there.
    spec: Option<Place>,
}

impl Places {
    pub(super) fn new(spec: &Spec, keyspaces: &[ResolvedKeyspace<'_>], sources: &Sources) -> Self {
        let mut places = Self {
            spec: spec.cluster.as_ref().map(|c| place(sources, c.span)),
            ..Self::default()
        };
        if let Some(changes) = &spec.changes {
            let at = place(sources, changes.span);
            places.objects.insert("changes".to_owned(), at);
        }
        for keyspace in keyspaces {
            let name = keyspace.name();
            let at = place(sources, keyspace.spec.name.span);
            places.objects.insert(name.to_owned(), at);
            for (table, statement) in &keyspace.tables {
                let object = format!("{name}.{table}");
                let at = keyspace.vschema.at(&format!("tables/{table}"));
                places.objects.insert(object.clone(), place(sources, at));
                let at = place(sources, statement.name.span);
                places.statements.insert(object, at);
            }
        }
        places
    }

    /// Where an object is, or its statement; else the spec's beginning.
    pub fn of(&self, object: &str, about: About) -> Option<Place> {
        let statement = match about {
            About::Schema => self.statements.get(object),
            About::Object => None,
        };
        statement
            .or_else(|| self.objects.get(object))
            .or(self.spec.as_ref())
            .cloned()
    }
}
