//! `region_json` and `region_experimental`: one or two bytes that stand for a region, then the
//! `hash` of a number. A region's rows are thus one key range.

use std::collections::HashMap;

use super::{Destination, Params, Vindex, VindexError, VindexValue, hash, integer};
use crate::model::KeyspaceId;

fn region_bytes(params: &Params<'_>) -> Result<usize, VindexError> {
    match params.get("region_bytes") {
        Some("1") => Ok(1),
        Some("2") => Ok(2),
        Some(other) => Err(params.error("region_bytes", format!("`{other}` is neither 1 nor 2"))),
        None => Err(params.error("region_bytes", "is needed, 1 or 2")),
    }
}

/// The low bytes of a region's number.
fn prefix(region: u64, bytes: usize) -> Vec<u8> {
    region.to_be_bytes()[8 - bytes..].to_vec()
}

/// Columns: a number, and a region's name, which the map turns into the region's number.
#[derive(Debug)]
pub(super) struct RegionJson {
    regions: HashMap<Vec<u8>, u64>,
    bytes: usize,
}

impl RegionJson {
    /// Parameters: `region_map`, the path of a JSON file (`{"us": 1, "eu": 2}`) or such an object
    /// itself; `region_bytes`, 1 or 2.
    pub(super) fn build(params: &Params<'_>) -> Result<Self, VindexError> {
        params.only(&["region_map", "region_bytes"])?;
        let map = params
            .get("region_map")
            .ok_or_else(|| params.error("region_map", "is needed: the path of a JSON file"))?;
        let text = if map.trim_start().starts_with('{') {
            map.to_owned()
        } else {
            std::fs::read_to_string(map)
                .map_err(|e| params.error("region_map", format!("cannot read `{map}`: {e}")))?
        };
        let regions: HashMap<String, u64> = serde_json::from_str(&text).map_err(|e| {
            params.error(
                "region_map",
                format!("is not a JSON object from names to numbers, such as {{\"us\": 1}}: {e}"),
            )
        })?;
        Ok(Self {
            regions: regions
                .into_iter()
                .map(|(name, number)| (name.into_bytes(), number))
                .collect(),
            bytes: region_bytes(params)?,
        })
    }
}

impl Vindex for RegionJson {
    fn type_name(&self) -> &'static str {
        "region_json"
    }

    fn cost(&self) -> u32 {
        1
    }

    fn columns(&self) -> usize {
        2
    }

    fn map(&self, values: &[VindexValue<'_>]) -> Destination {
        let [number, region] = values else {
            return Destination::None;
        };
        let number = integer::unsigned(number);
        let region = self.regions.get(region.text().as_ref());
        match (number, region) {
            (Some(number), Some(region)) => {
                let mut id = prefix(*region, self.bytes);
                id.extend(hash::hash(number));
                Destination::Id(KeyspaceId(id))
            }
            _ => Destination::None,
        }
    }
}

/// Columns: a region's number, then a number.
#[derive(Debug)]
pub(super) struct RegionExperimental {
    bytes: usize,
}

impl RegionExperimental {
    pub(super) fn build(params: &Params<'_>) -> Result<Self, VindexError> {
        params.only(&["region_bytes"])?;
        Ok(Self {
            bytes: region_bytes(params)?,
        })
    }
}

impl Vindex for RegionExperimental {
    fn type_name(&self) -> &'static str {
        "region_experimental"
    }

    fn cost(&self) -> u32 {
        1
    }

    fn columns(&self) -> usize {
        2
    }

    fn takes_prefix(&self) -> bool {
        true
    }

    fn map(&self, values: &[VindexValue<'_>]) -> Destination {
        let Some(region) = values.first().and_then(integer::unsigned) else {
            return Destination::None;
        };
        let mut id = prefix(region, self.bytes);
        match values.get(1) {
            None => Destination::prefix(id),
            Some(number) => Destination::of(integer::unsigned(number).map(|number| {
                id.extend(hash::hash(number));
                id
            })),
        }
    }
}
