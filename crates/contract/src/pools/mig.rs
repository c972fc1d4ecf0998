//! MIG: pools of a card's instances, by the name of their profile.

use super::Fields;
use super::node::Node;

/// Longest name of a profile; the longest that NVIDIA gives, such as `1c.3g.40gb+me.all`, is far shorter.
const LONGEST: usize = 40;

/// Whether this is how NVIDIA names a profile: slices of a card and their memory (`1g.10gb`), before that slices of
/// computing where an instance has not all of them (`1c.3g.40gb`), behind it what else it has, or has not (`1g.10gb+me`,
/// `1g.24gb-me`, `1g.24gb+gfx`). See NVIDIA, *MIG User Guide*, "MIG Device Names".
pub fn is_profile(text: &str) -> bool {
    let (slices, extras) = text.split_at(text.find(['+', '-']).unwrap_or(text.len()));
    let number = |text: &str, unit: &str| {
        let digits = text.strip_suffix(unit).unwrap_or_default();
        (1..=4).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0')
    };
    let parts: Vec<&str> = slices.split('.').collect();
    let named = match parts.as_slice() {
        [gpu, memory] => number(gpu, "g") && number(memory, "gb"),
        [compute, gpu, memory] => number(compute, "c") && number(gpu, "g") && number(memory, "gb"),
        _ => false,
    };
    let extra = |word: &str| {
        let good =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b',');
        word.bytes().next().is_some_and(|first| first.is_ascii_lowercase()) && word.bytes().all(good)
    };
    named && text.len() <= LONGEST && extras.split(['+', '-']).skip(1).all(extra)
}

impl Fields<'_> {
    /// `Err` is a mistake that has been said.
    pub(super) fn mig(&mut self) -> Result<Option<String>, ()> {
        match self.node.get("mig") {
            None | Some(Node::Null) => Ok(None),
            Some(Node::Text(name)) if is_profile(name) => Ok(Some(name.clone())),
            Some(other) => {
                let wanted =
                    "the name of a MIG profile as nvidia-smi -L shows it, such as 1g.10gb or 1g.10gb+me";
                self.wrong("mig", format!("{other}; wanted {wanted}"));
                Err(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pools::Pools;
    use proptest::prelude::*;

    #[test]
    fn profiles_are_named_as_nvidia_names_them() {
        for name in [
            "1g.5gb",
            "1g.10gb",
            "3g.40gb",
            "7g.141gb",
            "1g.10gb+me",
            "1c.3g.20gb",
            "1g.24gb-me",
            "1g.24gb+me.all",
        ] {
            assert!(is_profile(name), "{name}");
        }
        for name in
            ["", "1g", "10gb", "1g.10GB", "1g.10gb+", "g.10gb", "1g.10gb+me+", "01g.5gb", "1g.10gb me", "19"]
        {
            assert!(!is_profile(name), "{name}");
        }
    }

    #[test]
    fn a_pool_names_one_profile_and_slices_name_none() {
        let pools = Pools::parse("pools: [{name: a, kind: whole, mig: 1g.10gb}]").unwrap().pools;
        assert_eq!(pools[0].mig(), Some("1g.10gb"));
        let error = Pools::parse("pools: [{name: a, kind: whole, mig: 2}]").unwrap_err().to_string();
        assert!(error.starts_with("pools[0].mig: 2; wanted the name of a MIG profile"), "{error}");
        let error = Pools::parse("pools: [{name: a, kind: slice, slices: 2, mig: 1g.10gb}]").unwrap_err();
        let wanted = "pools[0].mig: \"1g.10gb\"; hardware has divided a card with MIG on already; mig is for kind whole";
        assert_eq!(error.to_string(), wanted);
    }

    #[test]
    fn a_card_may_be_in_pools_of_several_profiles_and_of_itself_and_once_in_each() {
        let pools = |second: &str| {
            Pools::parse(&format!(
                "pools:\n- {{name: a, kind: whole, mig: 1g.10gb}}\n- {{name: b, {second}}}\n"
            ))
        };
        for second in ["kind: whole, mig: 3g.40gb", "kind: whole", "kind: slice, slices: 2"] {
            assert_eq!(pools(second).map(|pools| pools.pools.len()), Ok(2), "{second}");
        }
        let twice = pools("kind: whole, mig: 1g.10gb, devices: [\"*H100*\"]").unwrap_err().to_string();
        let wanted = "pools[1].devices: all cards would be in the pools \"a\" and \"b\"; a card's instances of the profile \
                      1g.10gb are in exactly one pool";
        assert_eq!(twice, wanted);
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_a_name_is_short(text: String, name in "[0-9cgb.+me-]{0,60}") {
            let _ = is_profile(&text);
            prop_assert!(!is_profile(&name) || name.len() <= LONGEST);
        }
    }
}
