//! Tests of the foreground on memory disks.

mod copies;
mod lives;
mod reads;
mod starts;
mod uploads;
mod writes;
