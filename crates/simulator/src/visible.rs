//! `CUDA_VISIBLE_DEVICES`. The driver reads it, not the runtime (CUDA programming guide, *CUDA Environment
//! Variables*): indices or `GPU-<uuid>` (any prefix that fits one device); the first token that names no device, or
//! one twice, ends the list.

/// The ordinals that remain, in the order asked. `uuids` are the devices' names, `GPU-…`.
pub fn select(value: Option<&str>, uuids: &[String]) -> Vec<usize> {
    let Some(value) = value else { return (0..uuids.len()).collect() };
    let mut chosen = Vec::new();
    for token in value.split(',') {
        match find(token.trim(), uuids) {
            Some(ordinal) if !chosen.contains(&ordinal) => chosen.push(ordinal),
            // A device named twice leaves none at all.
            Some(_) => return Vec::new(),
            None => break,
        }
    }
    chosen
}

fn find(token: &str, uuids: &[String]) -> Option<usize> {
    if token.starts_with("GPU-") && token.len() > 4 {
        let wanted = token.to_ascii_lowercase();
        let mut fitting =
            uuids.iter().enumerate().filter(|(_, uuid)| uuid.to_ascii_lowercase().starts_with(&wanted));
        let (ordinal, _) = fitting.next()?;
        return fitting.next().is_none().then_some(ordinal);
    }
    let ordinal: usize = token.parse().ok()?;
    (ordinal < uuids.len()).then_some(ordinal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn uuids() -> Vec<String> {
        (0..4).map(|index| format!("GPU-{index}0000000-0000-5000-8000-000000000000")).collect()
    }

    #[test]
    fn without_the_variable_every_device_is_visible() {
        assert_eq!(select(None, &uuids()), [0, 1, 2, 3]);
    }

    #[test]
    fn an_empty_list_and_minus_one_hide_everything() {
        assert_eq!(select(Some(""), &uuids()), Vec::<usize>::new());
        assert_eq!(select(Some("-1"), &uuids()), Vec::<usize>::new());
    }

    #[test]
    fn the_order_is_the_one_asked_for() {
        assert_eq!(select(Some("2,0"), &uuids()), [2, 0]);
        assert_eq!(select(Some("GPU-30000000-0000-5000-8000-000000000000,1"), &uuids()), [3, 1]);
    }

    #[test]
    fn a_prefix_of_a_uuid_is_enough_when_it_fits_one_device() {
        assert_eq!(select(Some("GPU-2"), &uuids()), [2]);
        assert_eq!(select(Some("GPU-"), &uuids()), Vec::<usize>::new());
    }

    #[test]
    fn the_first_bad_token_ends_the_list() {
        assert_eq!(select(Some("1,9,0"), &uuids()), [1]);
        assert_eq!(select(Some("0,0"), &uuids()), Vec::<usize>::new());
    }

    proptest! {
        #[test]
        fn what_remains_exists_and_is_unique(value in "[-0-9A-Za-z, GPU]{0,40}") {
            let chosen = select(Some(&value), &uuids());
            prop_assert!(chosen.iter().all(|ordinal| *ordinal < 4));
            prop_assert!(chosen.iter().enumerate().all(|(at, one)| !chosen[..at].contains(one)));
        }
    }
}
