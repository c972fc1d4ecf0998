//! The quota between processes. A test starts this very program again as a *member*, which does what a word says.

#[cfg(test)]
mod processes {
    use firstlight_contract::ledger::{Ledger, SIZE, UNIT, header};
    use firstlight_shim::quota::{Budget, Cause, Quota};
    use std::fs::File;
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::FileExt as _;
    use std::path::{Path, PathBuf};
    use std::process::{Child, ChildStdout, Command, Stdio};
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    use std::time::{Duration, Instant};
    use tempfile::TempDir;

    const LIMIT: u64 = 64 << 20;
    const WORD: &str = "FIRSTLIGHT_TEST_MEMBER";
    const FOLDER: &str = "FIRSTLIGHT_TEST_FOLDER";
    const THREADS: u64 = 16;
    const PROCESSES: usize = 4;

    /// A folder with a ledger, and a page in which racing members count what they have been granted.
    struct Grant(TempDir);

    impl Grant {
        fn new() -> Self {
            let folder = TempDir::new().unwrap();
            let mut bytes = header().to_vec();
            bytes.resize(SIZE, 0);
            std::fs::write(folder.path().join("ledger"), bytes).unwrap();
            std::fs::write(folder.path().join("granted"), [0; 4096]).unwrap();
            Self(folder)
        }

        fn ledger(&self) -> PathBuf {
            self.0.path().join("ledger")
        }

        fn start(&self, word: &str) -> (Child, BufReader<ChildStdout>) {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "processes::a_member_does_what_it_is_told", "--ignored", "--nocapture"])
                .env(WORD, word)
                .env(FOLDER, self.0.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let out = BufReader::new(child.stdout.take().unwrap());
            (child, out)
        }

        /// A member that has charged half of the quota, closed all its descriptors, and waits.
        fn start_holder(&self) -> (Child, BufReader<ChildStdout>) {
            let (child, mut out) = self.start("hold");
            let mut line = String::new();
            while !line.contains("holding") {
                line.clear();
                assert!(out.read_line(&mut line).unwrap() > 0, "the member has ended");
            }
            (child, out)
        }

        fn holders(&self) -> Vec<(usize, u64)> {
            let ledger = Ledger::read(&std::fs::read(self.ledger()).unwrap()).unwrap();
            ledger.holders.iter().map(|(slot, holder)| (*slot, holder.used_bytes(0))).collect()
        }

        fn reserved_and_used(&self) -> Option<(u64, u64)> {
            let file = File::open(self.ledger()).unwrap();
            let mut bytes = vec![0; SIZE];
            // The slots that members of these tests can have: so short a read is seldom disturbed.
            file.read_exact_at(&mut bytes[..16384], 0).unwrap();
            let mut lock = [0; 8];
            file.read_exact_at(&mut lock, 64).unwrap();
            // While it is nobody's turn words only become smaller: a sum that was read then is no less than the truth.
            let undisturbed = bytes[64..72] == lock && lock[..2] == [0, 0];
            let holders = Ledger::read(&bytes).unwrap().holders;
            let shares = holders.into_values().filter_map(|holder| holder.shares.get(&0).copied());
            let sum =
                shares.fold((0, 0), |sum, share| (sum.0 + share.reserved_bytes, sum.1 + share.used_bytes));
            undisturbed.then_some(sum)
        }
    }

    fn join(ledger: &Path) -> Quota {
        let quota = Quota::new();
        let mut path = ledger.as_os_str().as_bytes().to_vec();
        path.push(0);
        quota.join(&path, &[LIMIT], 1).unwrap();
        quota
    }

    #[test]
    #[ignore = "started by the others"]
    fn a_member_does_what_it_is_told() {
        let (Ok(word), Some(folder)) = (std::env::var(WORD), std::env::var_os(FOLDER)) else { return };
        let folder = PathBuf::from(folder);
        let quota = join(&folder.join("ledger"));
        match word.as_str() {
            "hold" => hold(&quota),
            _ => race(&quota, &folder.join("granted")),
        }
    }

    fn hold(quota: &Quota) {
        quota.charge_in(0, 0, LIMIT / 2).unwrap();
        #[expect(unsafe_code, reason = "as some hosts do")]
        // SAFETY: nothing here uses a descriptor above 2.
        let answer = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
        assert_eq!(answer, 0);
        writeln!(std::io::stdout(), "holding").unwrap();
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
    }

    #[expect(unsafe_code, reason = "a page that processes share")]
    fn shared_counter(path: &Path) -> &'static AtomicU64 {
        use std::os::fd::AsRawFd as _;
        let file = File::options().read(true).write(true).open(path).unwrap();
        let (protection, fd) = (libc::PROT_READ | libc::PROT_WRITE, file.as_raw_fd());
        // SAFETY: a new mapping of a file that has a page.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, libc::MAP_SHARED, fd, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        // SAFETY: aligned, never unmapped, used as an atomic number only.
        unsafe { &*page.cast::<AtomicU64>() }
    }

    fn race(quota: &Quota, granted: &Path) {
        let granted = shared_counter(granted);
        let end = Instant::now() + Duration::from_secs(2);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || {
                    let mut random = u64::from(std::process::id()) << 8 | thread;
                    let mut held = Vec::new();
                    while Instant::now() < end {
                        random = random
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        // 64 threads that would like to have two times the quota together.
                        let bytes = ((random >> 33) % (LIMIT / 64)).max(1).next_multiple_of(UNIT);
                        match Budget::charge(quota, 0, bytes) {
                            Ok(charge) => {
                                let before = granted.fetch_add(bytes, SeqCst);
                                assert!(
                                    before + bytes <= LIMIT,
                                    "{before} and {bytes} are more than {LIMIT}"
                                );
                                held.push(charge);
                            }
                            Err(refused) => assert_eq!(refused.cause, Cause::Full),
                        }
                        if (held.len() > 4 || random >> 62 == 0)
                            && let Some(charge) = held.pop()
                        {
                            granted.fetch_sub(charge.bytes(), SeqCst);
                            quota.release(charge);
                        }
                    }
                    for charge in held {
                        granted.fetch_sub(charge.bytes(), SeqCst);
                        quota.release(charge);
                    }
                });
            }
        });
    }

    #[test]
    fn sixty_four_threads_at_the_edge_are_never_over_it() {
        let grant = Grant::new();
        let mut members: Vec<_> = (0..PROCESSES).map(|_| grant.start("race")).collect();
        let (mut looks, mut most) = (0_u64, (0, 0));
        while members.iter_mut().any(|(child, _)| child.try_wait().unwrap().is_none()) {
            if let Some((reserved, used)) = grant.reserved_and_used() {
                assert!(reserved <= LIMIT && used <= LIMIT, "{reserved} and {used} of {LIMIT}");
                looks += 1;
                most = (most.0.max(reserved), most.1.max(used));
            }
        }
        for (child, out) in &mut members {
            let mut text = String::new();
            out.read_to_string(&mut text).unwrap();
            assert!(child.wait().unwrap().success(), "{text}");
        }
        println!("{looks} looks; at most {} and {} bytes below the quota", LIMIT - most.0, LIMIT - most.1);
        assert!(looks > 0 && most.1 > LIMIT / 10 * 9, "{looks} looks, {most:?}");
        let last = join(&grant.ledger());
        assert_eq!(last.used(0), (0, 0));
        let all = last.charge_in(0, 0, LIMIT).unwrap();
        assert_eq!(grant.reserved_and_used(), Some((LIMIT, LIMIT)));
        last.release(all);
        assert_eq!(last.used(0), (0, 0));
    }

    #[test]
    fn two_processes_share_one_quota_whatever_they_close() {
        let grant = Grant::new();
        // Its output stays open: a test program that cannot write its result has failed.
        let (mut holder, _out) = grant.start_holder();
        let quota = join(&grant.ledger());
        assert_eq!(quota.used(0), (0, LIMIT / 2));
        quota.charge_in(0, 0, LIMIT / 2).unwrap();
        let refused = quota.charge_in(0, 0, 1).unwrap_err();
        assert_eq!((refused.cause, refused.used_by_others), (Cause::Full, LIMIT / 2));
        drop(holder.stdin.take());
        assert!(holder.wait().unwrap().success());
        quota.charge_in(0, 0, LIMIT / 2).unwrap();
    }

    #[test]
    fn what_a_killed_process_held_goes_to_the_next() {
        let grant = Grant::new();
        let quota = join(&grant.ledger());
        for _ in 0..3 {
            let (mut holder, _out) = grant.start_holder();
            assert_eq!(quota.charge_in(0, 0, LIMIT).unwrap_err().cause, Cause::Full);
            holder.kill().unwrap();
            holder.wait().unwrap();
            assert_eq!(quota.used(0), (0, 0));
            let all = quota.charge_in(0, 0, LIMIT).unwrap();
            quota.release(all);
        }
    }

    #[test]
    #[expect(unsafe_code, reason = "fork")]
    fn a_forked_child_has_a_slot_of_its_own() {
        let grant = Grant::new();
        let member = join(&grant.ledger());
        let held = member.charge_in(0, 0, LIMIT / 2).unwrap();
        let mut path = grant.ledger().as_os_str().as_bytes().to_vec();
        path.push(0);
        // SAFETY: the child makes system calls only, and ends by _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let stranger =
                !member.is_joined() && member.charge_in(0, 0, 1).is_err() && member.used(0) == (0, 0);
            member.release(held);
            let joined = member.join(&path, &[LIMIT], 8).is_ok()
                && member.charge_in(0, 0, LIMIT / 2).is_ok()
                && member.charge_in(0, 0, 1).is_err()
                && member.used(0) == (LIMIT / 2, LIMIT);
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!stranger) + 2 * i32::from(!joined)) };
        }
        let mut status = -1;
        // SAFETY: the status is valid for writes.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(status, 0);
        assert_eq!(grant.holders(), [(0, LIMIT / 2), (1, LIMIT / 2)]);
        assert_eq!(member.used(0), (LIMIT / 2, LIMIT / 2));
        member.charge_in(0, 0, LIMIT / 2).unwrap();
        assert_eq!(grant.holders(), [(0, LIMIT)]);
    }
}
