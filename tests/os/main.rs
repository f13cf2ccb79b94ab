//! What only the real kernel can show: the robust list beside the C library's, forks, namespaces, segments.
#![cfg(not(model))]

mod attach;
mod bell;
mod cell;
mod futex_mutex;
mod handles;
mod inspect;
mod interface;
mod mpmc;
mod process;
mod ring;
mod robust_list;
mod segment;
mod truncation;
