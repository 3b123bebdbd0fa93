//! The parameters of a vindex definition, and errors that name them.

use std::collections::BTreeMap;

use super::VindexError;

/// Parameters of one definition.
pub(super) struct Params<'a> {
    vindex_type: &'a str,
    params: &'a BTreeMap<String, String>,
}

impl<'a> Params<'a> {
    pub(super) fn new(vindex_type: &'a str, params: &'a BTreeMap<String, String>) -> Self {
        Self {
            vindex_type,
            params,
        }
    }

    pub(super) fn all(&self) -> &'a BTreeMap<String, String> {
        self.params
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.params.get(name).map(String::as_str)
    }

    pub(super) fn error(&self, param: &str, why: impl Into<String>) -> VindexError {
        VindexError::Param {
            vindex_type: self.vindex_type.to_owned(),
            param: param.to_owned(),
            why: why.into(),
        }
    }

    /// An error for the first parameter that is none of these.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), VindexError> {
        match self.params.keys().find(|p| !known.contains(&p.as_str())) {
            None => Ok(()),
            Some(unknown) if known.is_empty() => {
                Err(self.error(unknown, "is not known: the type takes none"))
            }
            Some(unknown) => Err(self.error(
                unknown,
                format!("is not known{}", hint(unknown, known.iter().copied())),
            )),
        }
    }
}

/// `; did you mean X?`, when one of the known names is near.
pub(super) fn hint<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|name| (strsim::jaro_winkler(text, name), name))
        .filter(|(nearness, _)| *nearness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}
