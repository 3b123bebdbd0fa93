//! `numeric_static_map`: numbers looked up in a given table, then as `numeric`; numbers that the
//! table does not have go through the `fallback_type`, or are taken as they are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Destination, Params, Vindex, VindexError, VindexValue, build_type, integer};

#[derive(Debug)]
pub(super) struct NumericStaticMap {
    table: HashMap<u64, u64>,
    fallback: Option<Arc<dyn Vindex>>,
}

impl NumericStaticMap {
    /// Parameters: either `json` (`{"1": 2}`) or `json_path` (a file with the same), and
    /// `fallback_type`.
    pub(super) fn build(params: &Params<'_>) -> Result<Self, VindexError> {
        params.only(&["json", "json_path", "fallback_type"])?;
        let (param, text) = match (params.get("json"), params.get("json_path")) {
            (Some(_), Some(_)) => {
                return Err(params.error("json", "give either `json` or `json_path`, not both"));
            }
            (None, None) => {
                return Err(params.error("json", "either `json` or `json_path` is needed"));
            }
            (Some(json), None) => ("json", json.to_owned()),
            (None, Some(path)) => (
                "json_path",
                std::fs::read_to_string(path)
                    .map_err(|e| params.error("json_path", format!("cannot read `{path}`: {e}")))?,
            ),
        };
        let wrong = |why: String| params.error(param, why);
        let by_text: BTreeMap<String, u64> = serde_json::from_str(&text).map_err(|e| {
            wrong(format!(
                "is not a JSON object from numbers to numbers, such as {{\"1\": 2}}: {e}"
            ))
        })?;
        let mut table = HashMap::with_capacity(by_text.len());
        for (from, to) in by_text {
            let number = from
                .parse()
                .map_err(|_| wrong(format!("key `{from}` is not an unsigned number")))?;
            table.insert(number, to);
        }
        let fallback = params
            .get("fallback_type")
            .map(|name| {
                let fallback = build_type(name, &BTreeMap::new())?;
                if fallback.hashes_one_column() {
                    Ok(fallback)
                } else {
                    Err(params.error(
                        "fallback_type",
                        format!("`{name}` does not map one column to one keyspace id"),
                    ))
                }
            })
            .transpose()?;
        Ok(Self { table, fallback })
    }
}

impl Vindex for NumericStaticMap {
    fn type_name(&self) -> &'static str {
        "numeric_static_map"
    }

    fn cost(&self) -> u32 {
        1
    }

    fn hashes_one_column(&self) -> bool {
        true
    }

    fn map(&self, values: &[VindexValue<'_>]) -> Destination {
        let Some(number) = values.first().and_then(integer::unsigned) else {
            return Destination::None;
        };
        match (self.table.get(&number), &self.fallback) {
            (Some(mapped), _) => Destination::of(Some(mapped.to_be_bytes().to_vec())),
            (None, Some(fallback)) => fallback.map(values),
            (None, None) => Destination::of(Some(number.to_be_bytes().to_vec())),
        }
    }
}
