//! Regions that no process died in, by the branches that go there.
//!
//! ```text
//! covered block --branch--> uncovered block ---> uncovered block --branch--> covered block
//!                           `------------ a region -----------'
//! ```
//!
//! A reason that fits a branch, or what it goes to, cuts it. Whatever can be come by from covered code by branches that are not cut has
//! no reason; the rest has that of a branch that goes there.

use super::coverage::{Reasons, ReasonsError};
use super::{Address, Functions, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

/// Instructions that are executed one after the other.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) start: Address,
    /// Behind its last instruction.
    pub(super) end: Address,
    /// The line of ours of its first instruction that has one.
    pub(super) first: Option<Rc<Source>>,
    /// That of its last one, if it chooses between ways to go on.
    pub(super) branch: Option<Rc<Source>>,
    /// The pieces that it goes on in, or calls.
    pub(super) next: Vec<usize>,
    /// It is proved that nobody comes there who does not panic.
    pub(super) proved: bool,
    /// It is entered from code that is not here.
    pub(super) by_others: bool,
}

/// The way from covered code into a region: lines that a reason may name, as file and line, the innermost of each file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Branch {
    /// The branch; none if it is not ours, or nothing branches: a call has not returned.
    pub from: Vec<(Rc<Path>, u32)>,
    /// The first that is not.
    pub to: Vec<(Rc<Path>, u32)>,
}

/// What regions are explained by.
pub(super) struct Regions<'f> {
    pieces: BTreeMap<&'f Address, (&'f Address, Region)>,
    /// Indices of the reasons that explain anything.
    pub(super) used: BTreeSet<usize>,
}

/// What is known of an instruction by the way that leads to it.
#[derive(Clone)]
pub(super) enum Region {
    /// Nothing: it is covered, or proved to be unreachable.
    None,
    /// This reason, by its index, cuts it off.
    Explained(usize),
    /// It can be come by from covered code, by this branch perhaps.
    Behind(Rc<Branch>),
}

impl Regions<'_> {
    pub(super) fn of(&self, address: &Address) -> Region {
        let piece = self.pieces.range::<&Address, _>(..=address).next_back();
        piece.filter(|(_, (end, _))| address < end).map_or(Region::None, |(_, (_, region))| region.clone())
    }
}

/// An edge into a piece that is not covered.
#[derive(Clone, Copy)]
struct Edge {
    from: Option<usize>,
    to: usize,
}

impl Functions {
    /// The regions that are left by a process that died before each of `executed`.
    pub(super) fn regions(&self, executed: &BTreeSet<Address>, reasons: &Reasons) -> Result<Regions<'_>, ReasonsError> {
        let pieces = &self.pieces;
        let covered = |piece: &Piece| executed.range(&piece.start..&piece.end).next().is_some();
        let covered: Vec<bool> = pieces.iter().map(covered).collect();
        let open = |piece: usize| !covered[piece] && !pieces[piece].proved;
        let out_of = |from: usize| {
            let next = pieces[from].next.iter().copied().filter(|&to| open(to));
            next.map(move |to| Edge { from: Some(from), to })
        };
        let entered = (0..pieces.len()).filter(|&piece| pieces[piece].by_others && open(piece));
        let entered = entered.map(|to| Edge { from: None, to });
        let left = (0..pieces.len()).filter(|&piece| covered[piece]).flat_map(out_of);
        let mut work: Vec<(Edge, Option<Rc<Branch>>)> = entered.chain(left).map(|edge| (edge, None)).collect();
        // Those that were met first are followed first.
        work.reverse();
        let (mut found, mut cut) = (vec![Region::None; pieces.len()], Vec::new());
        while let Some((edge, branch)) = work.pop() {
            if let Some(reason) = self.explains(edge, reasons)? {
                cut.push((reason, edge.to));
            } else if matches!(found[edge.to], Region::None) {
                let branch = branch.unwrap_or_else(|| Rc::new(self.branch(edge)));
                work.extend(out_of(edge.to).map(|edge| (edge, Some(branch.clone()))));
                found[edge.to] = Region::Behind(branch);
            }
        }
        let mut used = BTreeSet::new();
        for (reason, to) in cut {
            let (mut work, mut seen) = (vec![to], BTreeSet::new());
            while let Some(piece) = work.pop() {
                if !seen.insert(piece) {
                    continue;
                }
                if matches!(found[piece], Region::None) {
                    found[piece] = Region::Explained(reason);
                }
                work.extend(out_of(piece).map(|edge| edge.to));
            }
            if seen.iter().any(|&piece| self.is_ours(&pieces[piece])) {
                used.insert(reason);
            }
        }
        let pieces = pieces.iter().zip(found).map(|(piece, region)| (&piece.start, (&piece.end, region)));
        Ok(Regions { pieces: pieces.collect(), used })
    }

    /// The reason for not going along `edge`.
    fn explains(&self, edge: Edge, reasons: &Reasons) -> Result<Option<usize>, ReasonsError> {
        let from = edge.from.and_then(|from| self.pieces[from].branch.as_ref());
        for source in from.into_iter().chain(&self.pieces[edge.to].first) {
            if let Some(reason) = reasons.find(source)? {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }

    fn branch(&self, edge: Edge) -> Branch {
        let lines = |source: Option<&Rc<Source>>| {
            source.iter().flat_map(|source| source.lines()).map(|(file, line)| (file.clone(), line)).collect()
        };
        Branch {
            from: lines(edge.from.and_then(|from| self.pieces[from].branch.as_ref())),
            to: lines(self.pieces[edge.to].first.as_ref()),
        }
    }

    /// Whether a piece has an instruction that counts.
    fn is_ours(&self, piece: &Piece) -> bool {
        let mut instructions = self.instructions.range(&piece.start..&piece.end);
        instructions.any(|(_, instruction)| instruction.source.is_some() && !instruction.padding)
    }
}
