//! `cfc`: columns of fixed widths that the application concatenated into one value. The keyspace id
//! is the value itself, or its components' hashes one after the other.

use md5::{Digest as _, Md5};

use super::{Destination, Params, Vindex, VindexError, VindexValue, xxhash};

#[derive(Debug)]
pub(super) struct Cfc {
    /// `None`: the value as it is.
    components: Option<Components>,
}

#[derive(Debug)]
struct Components {
    hash: fn(&[u8]) -> Vec<u8>,
    /// Where components end, rising; what follows the last one is a component too.
    offsets: Vec<usize>,
}

impl Cfc {
    /// Parameters: `hash` (`md5` or `xxhash64`; left out: none), and with it `offsets` (`[3, 7]`).
    pub(super) fn build(params: &Params<'_>) -> Result<Self, VindexError> {
        params.only(&["hash", "offsets"])?;
        let hash: fn(&[u8]) -> Vec<u8> = match params.get("hash").unwrap_or_default() {
            "" => return Ok(Self { components: None }),
            "md5" => md5_hash,
            "xxhash64" => xx_hash,
            other => {
                return Err(
                    params.error("hash", format!("`{other}` is neither `md5` nor `xxhash64`"))
                );
            }
        };
        let offsets = params
            .get("offsets")
            .ok_or_else(|| params.error("offsets", "is needed when `hash` is given"))?;
        let offsets: Vec<usize> = serde_json::from_str(offsets)
            .ok()
            .filter(|list: &Vec<usize>| {
                list.first().is_some_and(|first| *first > 0) && list.is_sorted_by(|a, b| a < b)
            })
            .ok_or_else(|| {
                params.error(
                    "offsets",
                    format!("`{offsets}` is not a list of rising positive numbers such as [3, 7]"),
                )
            })?;
        Ok(Self {
            components: Some(Components { hash, offsets }),
        })
    }
}

/// A component's hash is never longer than the component.
fn md5_hash(component: &[u8]) -> Vec<u8> {
    let mut sum = Md5::digest(component).to_vec();
    sum.truncate(component.len());
    sum
}

fn xx_hash(component: &[u8]) -> Vec<u8> {
    let mut sum = xxhash::hash(component).to_vec();
    sum.truncate(component.len());
    sum
}

impl Vindex for Cfc {
    fn type_name(&self) -> &'static str {
        "cfc"
    }

    fn cost(&self) -> u32 {
        1
    }

    fn map(&self, values: &[VindexValue<'_>]) -> Destination {
        let Some(value) = values.first().map(VindexValue::text) else {
            return Destination::None;
        };
        let Some(Components { hash, offsets }) = &self.components else {
            return Destination::of(Some(value.into_owned()));
        };
        let mut id = Vec::new();
        let mut from = 0;
        for &to in offsets {
            // A value that lacks components is no key.
            let Some(component) = value.get(from..to) else {
                return Destination::None;
            };
            id.extend(hash(component));
            from = to;
        }
        id.extend(hash(&value[from..]));
        Destination::of(Some(id))
    }
}
