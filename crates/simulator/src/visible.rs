//! What CUDA shows. `CUDA_VISIBLE_DEVICES`: the driver reads it, not the runtime (CUDA programming guide, *CUDA Environment
//! Variables*): indices or `GPU-<uuid>` (any prefix that fits one device); the first token that names no device, or
//! one twice, ends the list. Instances are named `MIG-<uuid>` or `MIG-GPU-<uuid>/<gi>/<ci>`, in full. Of instances CUDA
//! shows one, and then no card (NVIDIA, *MIG User Guide*, "CUDA Device Enumeration").

/// What could be shown: a card with MIG off, or an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// `GPU-…`.
    Card(String),
    /// An instance.
    Instance {
        /// `MIG-…`, and its name before drivers of 470, `MIG-GPU-…/<gi>/<ci>`.
        names: [String; 2],
        /// Whether it is shown, and counted by indices, without being named.
        given: bool,
    },
}

impl Candidate {
    fn is_given(&self) -> bool {
        matches!(self, Self::Card(_) | Self::Instance { given: true, .. })
    }
}

/// The numbers of those that are shown, in the order asked.
pub fn select(value: Option<&str>, all: &[Candidate]) -> Vec<usize> {
    let chosen = chosen(value, all);
    let is_instance = |number: &&usize| matches!(all.get(**number), Some(Candidate::Instance { .. }));
    match chosen.iter().find(is_instance) {
        Some(instance) => vec![*instance],
        None => chosen,
    }
}

fn chosen(value: Option<&str>, all: &[Candidate]) -> Vec<usize> {
    let Some(value) = value else { return given(all).collect() };
    let mut chosen = Vec::new();
    for token in value.split(',') {
        match find(token.trim(), all) {
            Some(number) if !chosen.contains(&number) => chosen.push(number),
            // A device named twice leaves none at all.
            Some(_) => return Vec::new(),
            None => break,
        }
    }
    chosen
}

fn given(all: &[Candidate]) -> impl Iterator<Item = usize> {
    all.iter().enumerate().filter(|(_, candidate)| candidate.is_given()).map(|(number, _)| number)
}

fn find(token: &str, all: &[Candidate]) -> Option<usize> {
    if token.starts_with("MIG-") {
        let is_it = |name: &String| name.eq_ignore_ascii_case(token);
        return all.iter().position(|candidate| match candidate {
            Candidate::Card(_) => false,
            Candidate::Instance { names, .. } => names.iter().any(is_it),
        });
    }
    if token.starts_with("GPU-") && token.len() > 4 {
        let wanted = token.to_ascii_lowercase();
        let fits = |candidate: &Candidate| matches!(candidate, Candidate::Card(uuid) if uuid.to_ascii_lowercase().starts_with(&wanted));
        let mut fitting = all.iter().enumerate().filter(|(_, candidate)| fits(candidate));
        let (number, _) = fitting.next()?;
        return fitting.next().is_none().then_some(number);
    }
    given(all).nth(token.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn uuids() -> Vec<Candidate> {
        (0..4)
            .map(|index| Candidate::Card(format!("GPU-{index}0000000-0000-5000-8000-000000000000")))
            .collect()
    }

    const GIVEN: &str = "MIG-50000000-0000-5000-8000-000000000000";
    const OTHER: &str = "MIG-60000000-0000-5000-8000-000000000000";

    /// A card, an instance that the grant gives, and one that it does not.
    fn divided() -> Vec<Candidate> {
        let instance = |name: &str, gi: u32, given| Candidate::Instance {
            names: [name.to_owned(), format!("MIG-GPU-90000000-0000-5000-8000-000000000000/{gi}/0")],
            given,
        };
        vec![uuids().remove(0), instance(GIVEN, 3, true), instance(OTHER, 4, false)]
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

    #[test]
    fn of_instances_one_is_shown_and_no_card_beside_it() {
        assert_eq!(select(None, &divided()), [1]);
        assert_eq!(select(Some("0"), &divided()), [0]);
        assert_eq!(select(Some("1"), &divided()), [1]);
        assert_eq!(select(Some(&format!("0,{OTHER},{GIVEN}")), &divided()), [2]);
        assert_eq!(select(None, &divided()[2..]), Vec::<usize>::new(), "nobody gave it");
    }

    #[test]
    fn an_instance_is_chosen_by_either_of_its_names_in_full() {
        let old = "MIG-GPU-90000000-0000-5000-8000-000000000000/4/0";
        for name in [OTHER, &OTHER.to_uppercase(), old] {
            assert_eq!(select(Some(name), &divided()), [2], "{name}");
        }
        // Not by a name like a card's (ollama/ollama#13800), nor by an index where nobody gave it.
        for name in ["2", "GPU-60000000-0000-5000-8000-000000000000", "MIG-6", "MIG-", "GPU-9"] {
            assert_eq!(select(Some(name), &divided()), Vec::<usize>::new(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_remains_exists_and_is_unique(value in "([-0-9A-Za-z, GPU]|MIG-){0,40}") {
            prop_assert!(select(Some(&value), &divided()).iter().all(|number| *number < 3));
            let chosen = select(Some(&value), &uuids());
            prop_assert!(chosen.iter().all(|ordinal| *ordinal < 4));
            prop_assert!(chosen.iter().enumerate().all(|(at, one)| !chosen[..at].contains(one)));
        }
    }
}
