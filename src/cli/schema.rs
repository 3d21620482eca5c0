//! `muster schema`: the shape of an inventory, for editors.

use super::Options;
use crate::error::{Exit, Problem};
use crate::inventory;
use crate::report;

pub(super) fn run(options: &Options) -> Result<Exit, Vec<Problem>> {
    options.not_limited("the schema is that of every inventory")?;
    report::print(&format!("{:#}\n", inventory::schema()));
    Ok(Exit::Ok)
}
