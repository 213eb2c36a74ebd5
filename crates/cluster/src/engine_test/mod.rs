//! Tests of the foreground on memory disks.

mod copies;
mod lives;
mod reads;
mod rocks;
mod sealed;
mod starts;
mod storm;
mod uploads;
mod writes;
