//! The driver's device nodes and kernel module: opened as this user and closed at once.

use crate::files;
use firstlight_contract::preflight::{Finding, Outcome, Probe};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::path::Path;
use std::time::Instant;

/// Nodes without which the driver does not come up.
const NEEDED: [&str; 2] = ["/dev/nvidiactl", "/dev/nvidia-uvm"];
/// The first of the devices themselves.
const FIRST_DEVICE: &str = "/dev/nvidia0";
const DEVICES: u32 = 16;
const VERSION: &str = "/proc/driver/nvidia/version";

/// Tries them. A driver of somebody's own, named by the grant, needs none: then those that are not there are not worth
/// a word.
pub fn probe(own_driver: bool) -> Vec<Finding> {
    let devices: Vec<String> = (0..DEVICES).map(|index| format!("/dev/nvidia{index}")).collect();
    let mut present: Vec<&str> =
        devices.iter().map(String::as_str).filter(|path| open(path) != Some(Errno::NOENT)).collect();
    if present.is_empty() {
        present.push(FIRST_DEVICE);
    }
    let mut found: Vec<Finding> = NEEDED
        .into_iter()
        .chain(present)
        .map(|path| {
            let begun = Instant::now();
            let outcome = open(path).map_or(Outcome::Ok, |error| Outcome::Errno(error.raw_os_error()));
            Finding::new(Probe::Device, outcome).on(path).after(begun.elapsed())
        })
        .chain([module()])
        .collect();
    let missing = [Outcome::Errno(Errno::NOENT.raw_os_error()), Outcome::Absent];
    found.retain(|finding| !(own_driver && missing.contains(&finding.outcome)));
    found
}

/// How the driver opens them.
fn open(path: &str) -> Option<Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    rustix::fs::open(path, flags, Mode::empty()).err()
}

fn module() -> Finding {
    let finding = |outcome| Finding::new(Probe::Module, outcome).on(VERSION);
    match files::read(Path::new(VERSION), 4096) {
        Ok(text) => match version(&String::from_utf8_lossy(&text)) {
            Some(version) => finding(Outcome::Ok).saying(version),
            None => finding(Outcome::Failed).saying("no version in it"),
        },
        Err(error) => finding(match error.raw_os_error() {
            Some(number) if number != Errno::NOENT.raw_os_error() => Outcome::Errno(number),
            _ => Outcome::Absent,
        }),
    }
}

/// `NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 …`, and the same with `Open Kernel Module
/// for x86_64`.
fn version(text: &str) -> Option<&str> {
    let is_version = |word: &&str| {
        word.contains('.')
            && word.starts_with(|first: char| first.is_ascii_digit())
            && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    text.lines().next()?.split_whitespace().find(is_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modules_version_is_found_in_both_forms() {
        let closed =
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.163.01  Tue Apr  8 12:41:17 UTC 2025\nGCC";
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (x)";
        assert_eq!((version(closed), version(open)), (Some("550.163.01"), Some("580.95.05")));
        assert_eq!(version("something else"), None);
    }

    #[test]
    fn what_is_missing_is_told_only_where_a_real_driver_needs_it() {
        if Path::new("/dev/nvidiactl").exists() {
            return;
        }
        let told: Vec<String> = probe(false).iter().map(|finding| finding.subject.to_string()).collect();
        assert_eq!(told, ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0", VERSION]);
        assert!(probe(true).is_empty());
    }
}
