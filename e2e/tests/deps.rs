//! The cache of foreign products: what is whole is kept, everything else is built again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use firstlight_e2e::deps::{Deps, Fault, Outcome, verify};

/// Two products, the second from the first; each build leaves a line in `builds`.
struct Kitchen {
    folder: tempfile::TempDir,
}

impl Kitchen {
    fn new() -> Result<Self> {
        let kitchen = Self { folder: tempfile::tempdir()? };
        fs::create_dir_all(kitchen.at("recipes"))?;
        fs::write(kitchen.at("recipes/lib.sh"), "set -eu\n")?;
        kitchen.recipe("dough", "echo flour > \"$OUT/dough\"")?;
        kitchen.recipe(
            "bread",
            "# needs: dough\ncat \"$NEED_dough/dough\" > \"$OUT/bread\"; ln -s bread \"$OUT/loaf\"",
        )?;
        Ok(kitchen)
    }

    fn recipe(&self, name: &str, script: &str) -> Result<()> {
        fs::create_dir_all(self.at("recipes").join(name))?;
        let note = self.at("builds");
        let text = format!("{script}\necho {name} >> {}\n", note.display());
        Ok(fs::write(self.at("recipes").join(name).join("build.sh"), text)?)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn deps(&self) -> Deps {
        Deps::new(self.at("recipes"), self.at("cache"))
    }

    /// Runs the build and says which scripts ran.
    fn build(&self) -> Result<Vec<String>> {
        let _before = fs::remove_file(self.at("builds"));
        self.deps().build(&[])?;
        Ok(fs::read_to_string(self.at("builds")).unwrap_or_default().lines().map(str::to_owned).collect())
    }

    fn current(&self, product: &str) -> Result<PathBuf> {
        Ok(fs::canonicalize(self.at("cache/current").join(product))?)
    }
}

#[test]
fn a_second_run_builds_nothing() -> Result<()> {
    let kitchen = Kitchen::new()?;
    assert_eq!(kitchen.build()?, ["dough", "bread"]);
    assert_eq!(kitchen.build()?, [""; 0]);
    assert_eq!(fs::read_to_string(kitchen.current("bread")?.join("loaf"))?, "flour\n");
    Ok(())
}

#[test]
fn a_changed_script_changes_its_key_and_the_keys_of_what_needs_it() -> Result<()> {
    let kitchen = Kitchen::new()?;
    kitchen.build()?;
    let before = (kitchen.current("dough")?, kitchen.current("bread")?);
    kitchen.recipe("dough", "echo rye > \"$OUT/dough\"")?;
    assert_eq!(kitchen.build()?, ["dough", "bread"]);
    let after = (kitchen.current("dough")?, kitchen.current("bread")?);
    assert!(before.0 != after.0 && before.1 != after.1, "{before:?} {after:?}");
    assert_eq!(fs::read_to_string(after.1.join("bread"))?, "rye\n");
    Ok(())
}

#[test]
fn a_script_that_changes_leaves_unrelated_products_alone() -> Result<()> {
    let kitchen = Kitchen::new()?;
    kitchen.build()?;
    kitchen.recipe("bread", "# needs: dough\necho toast > \"$OUT/bread\"")?;
    assert_eq!(kitchen.build()?, ["bread"]);
    Ok(())
}

#[test]
fn an_entry_without_manifest_is_half_built_and_built_again() -> Result<()> {
    let kitchen = Kitchen::new()?;
    kitchen.build()?;
    let entry = kitchen.current("dough")?;
    fs::remove_file(entry.join(".manifest"))?;
    assert_eq!(verify(&entry), Err(Fault::HalfBuilt));
    assert_eq!(kitchen.build()?, ["dough"]);
    assert_eq!(verify(&entry), Ok(()));
    Ok(())
}

#[test]
fn a_poisoned_entry_is_named_and_built_again() -> Result<()> {
    type Poison = fn(&Path) -> std::io::Result<()>;
    let poisons: [(&str, Poison); 6] = [
        ("bread", |entry| fs::write(entry.join("bread"), "stone")),
        ("bread", |entry| fs::write(entry.join("bread"), "flouR\n")),
        ("bread", |entry| fs::remove_file(entry.join("bread"))),
        ("loaf", |entry| {
            fs::remove_file(entry.join("loaf")).and_then(|()| fs::write(entry.join("loaf"), "flour\n"))
        }),
        ("crumbs", |entry| fs::write(entry.join("crumbs"), "")),
        (".manifest", |entry| {
            let text = fs::read_to_string(entry.join(".manifest"))?;
            fs::write(entry.join(".manifest"), text.replace("\tbread", "\tbreaD"))
        }),
    ];
    for (file, poison) in poisons {
        let kitchen = Kitchen::new()?;
        kitchen.build()?;
        let entry = kitchen.current("bread")?;
        poison(&entry)?;
        assert_eq!(verify(&entry), Err(Fault::Poisoned(file.to_owned())));
        assert_eq!(kitchen.deps().faults()?.len(), 1);
        assert_eq!(kitchen.build()?, ["bread"], "after {file}");
        assert_eq!(verify(&entry), Ok(()));
    }
    Ok(())
}

#[test]
fn a_failed_build_leaves_no_entry_and_shows_the_end_of_its_log() -> Result<()> {
    let kitchen = Kitchen::new()?;
    kitchen.recipe("dough", "echo no flour left >&2; exit 3")?;
    let error = kitchen.build().expect_err("the script failed").to_string();
    assert!(
        error.contains("dough") && error.contains("no flour left") && error.contains("exit status: 3"),
        "{error}"
    );
    assert!(kitchen.current("dough").is_err());
    kitchen.recipe("dough", "echo flour > \"$OUT/dough\"")?;
    assert_eq!(kitchen.build()?, ["dough", "bread"]);
    Ok(())
}

#[test]
fn an_interrupted_build_goes_on_where_it_was() -> Result<()> {
    let kitchen = Kitchen::new()?;
    // Fails once, after the slow part; the second attempt finds the slow part in its scratch folder.
    kitchen.recipe(
        "dough",
        "[ -e \"$WORK/risen\" ] && { echo flour > \"$OUT/dough\"; exit 0; }; touch \"$WORK/risen\"; echo half > \"$OUT/half\"; exit 1",
    )?;
    assert!(kitchen.build().is_err());
    kitchen.build()?;
    assert_eq!(fs::read_to_string(kitchen.current("dough")?.join("dough"))?, "flour\n");
    assert!(
        !kitchen.current("dough")?.join("half").exists(),
        "what the first attempt left is not part of the entry"
    );
    Ok(())
}

#[test]
fn only_what_is_asked_for_is_built_with_what_it_needs() -> Result<()> {
    let kitchen = Kitchen::new()?;
    kitchen.recipe("soup", "echo soup > \"$OUT/soup\"")?;
    let outcomes = kitchen.deps().build(&["bread".to_owned()])?;
    assert_eq!(outcomes, [("dough".to_owned(), Outcome::Built), ("bread".to_owned(), Outcome::Built)]);
    let error = kitchen.deps().build(&["cake".to_owned()]).expect_err("there is no cake").to_string();
    assert_eq!(error, "no product \"cake\"; there are: dough bread soup");
    Ok(())
}

#[test]
fn products_that_need_each_other_are_refused() -> Result<()> {
    let kitchen = Kitchen::new()?;
    kitchen.recipe("dough", "# needs: bread")?;
    let error = kitchen.build().expect_err("a circle").to_string();
    assert!(
        error.contains("bread needs [\"dough\"]") && error.contains("dough needs [\"bread\"]"),
        "{error}"
    );
    Ok(())
}

#[test]
fn every_product_of_this_project_has_a_recipe_whose_needs_exist() -> Result<()> {
    let recipes = Deps::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deps"), "/nonexistent").recipes()?;
    let names: Vec<_> = recipes.iter().map(|recipe| recipe.name.as_str()).collect();
    for name in [
        "kubernetes",
        "containerd",
        "runc",
        "etcd",
        "cni",
        "helm",
        "cudart",
        "ggml-cuda",
        "ollama",
        "ollama-0.12.3",
    ] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    Ok(())
}
