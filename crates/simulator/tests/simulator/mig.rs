//! A card that has MIG on, for NVIDIA's runtime and the real backend: one instance, or no device.

use crate::backend::{generates, server};
use crate::common::{Machine, product};
use crate::runtime::{runtimes, walk};
use firstlight_simulator::identity::print_mig_uuid;
use firstlight_simulator::machine;

/// Two instances of different size.
const CARD: &str = "device.0.uuid=GPU-00000000-0000-5000-8000-00000000000a\ndevice.0.pci=00000000:20:00.0\n\
                    device.0.model=SIM-H100\ndevice.0.mig=7/0:1g.10gb,1/0:3g.40gb\n";

/// The names of its instances.
fn instances() -> Vec<String> {
    let head = format!(
        "firstlight-grant=1\nid={}\npool=p\nkind=simulated\ndriver=auto\nnvml=auto\n",
        "0".repeat(32)
    );
    let known =
        machine::Machine::new(Some((head + CARD).as_bytes()), None, None).devices.remove(0).mig.unwrap();
    known.into_iter().map(|instance| print_mig_uuid(instance.uuid)).collect()
}

/// As the agent grants an instance to a container: by its name, and the place of its card.
fn granted(name: &str) -> Machine {
    Machine::with(&format!("device.0.uuid={name}\ndevice.0.pci=00000000:20:00.0\n"))
}

#[test]
fn every_runtime_computes_in_the_instance_that_a_grant_names() {
    for runtime in runtimes() {
        for (name, bytes) in instances().iter().zip([10_u64 << 30, 40 << 30]) {
            let told = walk(&granted(name), &runtime, None);
            assert!(told.starts_with("count=0 devices=1 "), "{}: {told}", runtime.display());
            assert!(told.contains("device 0 capability 9.0 at 0000:20:00.0\n"), "{told}");
            assert!(told.contains(&format!("total={bytes} used=0\n")), "{told}");
            assert!(told.contains("round trip same\n") && told.contains("too much=2\n"), "{told}");
            assert!(told.ends_with("left over 0\nafter a reset 0\n"), "{told}");
        }
    }
}

#[test]
fn a_divided_card_is_no_device_until_an_instance_is_chosen_by_its_name() {
    let (card, names) = (Machine::with(CARD), instances());
    for runtime in runtimes() {
        assert!(walk(&card, &runtime, None).starts_with("count=100 "), "{}", runtime.display());
        assert!(walk(&card, &runtime, Some("0")).starts_with("count=100 "), "{}", runtime.display());
        // As Ollama of some versions names it.
        let like_a_card = names[1].replace("MIG-", "GPU-");
        assert!(walk(&card, &runtime, Some(&like_a_card)).starts_with("count=100 "), "{}", runtime.display());
        let told = walk(&card, &runtime, Some(&names[1]));
        assert!(told.starts_with("count=0 devices=1 ") && told.contains("total=42949672960 "), "{told}");
    }
}

#[test]
fn the_real_backend_names_the_instance_and_generates_in_it() {
    let Some(lib) = product("ollama/lib/ollama") else { return };
    let machine = granted(&instances()[0]);
    let output = server(&machine, &lib).arg("--list-devices").output().unwrap();
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("CUDA0: SIM-H100 MIG 1g.10gb (10240 MiB, 10240 MiB free)"), "{told}");
    generates(&machine);
}
