//! The page `docs/causes.md`, from the catalogue and the stages.

use crate::catalogue::Cause;
use crate::stage::Stage;
use std::fmt::Write as _;

/// The text of `docs/causes.md`.
pub fn causes() -> String {
    let mut page = String::from(
        "# Causes\n\n\
         Generated from the catalogue in `crates/diagnosis` (`UPDATE=1 cargo test -p firstlight-diagnosis`). \
         Each verdict carries exactly one of these. In Kubernetes the id is the label `cause` of the metric \
         `firstlight_cuda_init_failure_info`; in CamelCase it is the reason of the pod condition \
         `firstlight.dev/GpuReady`. `kubectl firstlight explain ID` prints a row.\n\n\
         Confidence: *certain* means that the evidence which tells the cause from its look-alikes was seen; \
         *likely*, that nothing speaks against it. A code alone is at most likely. What fits no row is \
         `unknown`, with all that was seen.\n\n\
         | cause | fails at | in one sentence |\n|---|---|---|\n",
    );
    for cause in Cause::ALL {
        let row = cause.row();
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| [`{}`](#{}) | {} | {} |", row.id, row.id, row.stage, row.what);
    }
    for cause in Cause::ALL {
        let row = cause.row();
        let _ = write!(
            page,
            "\n## {}\n\n{}.\n\n\
             * **Stage:** {}: {}\n* **Condition reason:** `{}`\n* **Evidence:** {}\n* **Looks alike:** {}\n\
             * **Fix:** {}\n* **Applies to:** {}\n* **Decided by:** {}\n",
            row.id,
            capital(row.what),
            row.stage,
            row.stage.meaning(),
            row.reason,
            row.evidence,
            row.alike,
            row.fix,
            row.era,
            row.seen_by
        );
        if !row.references.is_empty() {
            let links: Vec<String> = row.references.iter().map(|link| format!("<{link}>")).collect();
            let _ = writeln!(page, "* **See:** {}", links.join(", "));
        }
    }
    page.push_str("\n## Stages\n\n| stage | what happens |\n|---|---|\n");
    for stage in Stage::ALL {
        let _ = writeln!(page, "| {stage} | {} |", stage.meaning());
    }
    page
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
