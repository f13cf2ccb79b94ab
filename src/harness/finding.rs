//! What kind of damage was found: one list for oracles, the kill engine and reports.

use super::oracle::Violation;

/// What kind of damage was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Kind {
    /// Something that was committed, or a right that was held, is gone.
    Lost,
    /// Something is half there.
    Torn,
    /// Something came twice, or two have what one can have.
    Duplicated,
    /// Somebody waits for ever.
    Stuck,
    /// A survivor ended by a signal, or panicked.
    Crashed,
    /// Something else; the text says what.
    Other,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Lost, Self::Torn, Self::Duplicated, Self::Stuck, Self::Crashed, Self::Other];

    /// Of a finding of which there is a text alone: as far as its first words tell, which are those of
    /// [`Violation`] and of chaos.
    pub fn told_by(text: &str) -> Self {
        const WORDS: [(&str, Kind); 9] = [
            ("torn: ", Kind::Torn),
            ("what the last holder wrote is not there", Kind::Lost),
            ("committed records are lost", Kind::Lost),
            ("lost: ", Kind::Lost),
            ("two ", Kind::Duplicated),
            ("hang: ", Kind::Stuck),
            ("no lock in ten seconds", Kind::Stuck),
            ("a victim ended by itself", Kind::Crashed),
            ("the stage did not end", Kind::Crashed),
        ];
        let text = text.strip_prefix("a victim says: ").or_else(|| text.strip_prefix("the stage: ")).unwrap_or(text);
        WORDS.iter().find(|(words, _)| text.starts_with(words)).map_or(Kind::Other, |&(_, kind)| kind)
    }

    /// As it stands in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Torn => "torn",
            Self::Duplicated => "duplicated",
            Self::Stuck => "stuck",
            Self::Crashed => "crashed",
            Self::Other => "other",
        }
    }
}

impl core::fmt::Display for Kind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.as_str())
    }
}

impl Violation {
    /// What kind of damage it is.
    pub fn kind(&self) -> Kind {
        match *self {
            Self::Torn { .. } | Self::NotTold => Kind::Torn,
            Self::Lost { .. } | Self::Changed { .. } => Kind::Lost,
            // A record that was committed as read came again, or one is missing before it.
            Self::OutOfOrder { number, from, .. } if number < from => Kind::Duplicated,
            Self::OutOfOrder { .. } => Kind::Lost,
            Self::TwoInside { .. } => Kind::Duplicated,
            Self::Invented { .. } | Self::NotOverrun { .. } => Kind::Other,
        }
    }
}
