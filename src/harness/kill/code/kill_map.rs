//! Deaths by line of source.

use super::super::Place;
use super::{Address, Code, CodeError, Source};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

/// Deaths in a line of source that came to one outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillLine {
    /// The line, and the operation that it is part of.
    pub source: Rc<Source>,
    /// What survivors met.
    pub outcome: String,
    /// Before its instructions; found: those that something was found after.
    pub deaths: Place,
}

impl Code {
    /// Deaths by line of ours and outcome, in the order of files, lines and operations; and those in code of others, together.
    ///
    /// # Errors
    /// As [`Code::lookup`].
    pub fn kill_map<'p>(
        &self,
        places: impl IntoIterator<Item = (&'p Address, &'p str, &'p Place)>,
        ours: impl Fn(&Path) -> bool,
    ) -> Result<(Vec<KillLine>, Place), CodeError> {
        let mut lines: BTreeMap<_, (Rc<Source>, Place)> = BTreeMap::new();
        let mut others = Place::default();
        for (address, outcome, place) in places {
            let sum = match self.source(address, &ours)? {
                None => &mut others,
                Some(source) => {
                    let key =
                        (source.file.clone(), source.line, source.operation.clone(), source.function.clone(), outcome);
                    &mut lines.entry(key).or_insert_with(|| (source, Place::default())).1
                }
            };
            sum.deaths += place.deaths;
            sum.second_deaths += place.second_deaths;
            sum.planted += place.planted;
            sum.found += place.found;
        }
        let lines = lines.into_iter().map(|((.., outcome), (source, deaths))| KillLine {
            source,
            outcome: outcome.into(),
            deaths,
        });
        Ok((lines.collect(), others))
    }
}
