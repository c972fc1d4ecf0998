//! What NVML says of one card. Each question is announced before it is asked; the first error that means anything for
//! the card is the last question.

use crate::cards::Card;
use crate::out::Out;
use firstlight_contract::prober::{self, Ecc, Failure, FailureKind, Memory, Rows};
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use std::io;

/// `NVML_FI_DEV_REMAPPED_PENDING` and `NVML_FI_DEV_REMAPPED_FAILURE` (nvml.h).
const REMAPPED: [FieldId; 2] = [FieldId(144), FieldId(145)];
/// `NVML_DEVICE_MIG_ENABLE`.
const MIG_ENABLED: u32 = 1;

/// Asks everything.
pub(crate) fn ask(card: &Card<'_>, out: &mut Out) -> io::Result<prober::Card> {
    let mut asked = Asked { card, out, failure: None };
    let look = prober::Card {
        uuid: card.uuid.clone(),
        pci: card.pci.clone(),
        memory: asked.ask("nvmlDeviceGetMemoryInfo", memory)?,
        capability: asked.ask("nvmlDeviceGetCudaComputeCapability", capability)?,
        mig: asked.ask("nvmlDeviceGetMigMode", |card| Ok(card.device.mig_mode()?.current == MIG_ENABLED))?,
        ecc: asked.ask("nvmlDeviceGetTotalEccErrors", ecc)?,
        rows: asked.ask("nvmlDeviceGetFieldValues", rows)?,
        nvlinks: card.nvlinks.clone(),
        failure: None,
    };
    Ok(prober::Card { failure: asked.failure, ..look })
}

struct Asked<'a, 'nvml> {
    card: &'a Card<'nvml>,
    out: &'a mut Out,
    failure: Option<Failure>,
}

impl Asked<'_, '_> {
    /// `None` where NVML does not support it, or has failed.
    fn ask<T>(
        &mut self,
        call: &str,
        question: impl FnOnce(&Card<'_>) -> Result<T, NvmlError>,
    ) -> io::Result<Option<T>> {
        if self.failure.is_some() {
            return Ok(None);
        }
        self.out.asking(call, Some(&self.card.uuid))?;
        Ok(question(self.card).map_err(|error| self.failure = failure(call, &error)).ok())
    }
}

/// What an error means for the card; `None`: only that there is no answer.
fn failure(call: &str, error: &NvmlError) -> Option<Failure> {
    let kind = match error {
        NvmlError::NotSupported
        | NvmlError::FunctionNotFound
        | NvmlError::FailedToLoadSymbol(_)
        | NvmlError::NoData
        | NvmlError::VgpuEccNotSupported => return None,
        NvmlError::GpuLost => FailureKind::Lost,
        NvmlError::ResetRequired => FailureKind::Reset,
        _ => FailureKind::Other,
    };
    Some(Failure { kind, call: call.to_owned(), words: error.to_string() })
}

fn memory(card: &Card<'_>) -> Result<Memory, NvmlError> {
    let found = card.device.memory_info()?;
    Ok(Memory { total: found.total, reserved: found.reserved, used: found.used })
}

fn capability(card: &Card<'_>) -> Result<(u32, u32), NvmlError> {
    let found = card.device.cuda_compute_capability()?;
    let number = |number: i32| u32::try_from(number).map_err(|_| NvmlError::NoData);
    Ok((number(found.major)?, number(found.minor)?))
}

fn ecc(card: &Card<'_>) -> Result<Ecc, NvmlError> {
    let enabled = card.device.is_ecc_enabled()?.currently_enabled;
    let count = || card.device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile);
    Ok(Ecc { enabled, uncorrected: if enabled { count()? } else { 0 } })
}

fn rows(card: &Card<'_>) -> Result<Rows, NvmlError> {
    let values = card.device.field_values_for(&REMAPPED)?.into_iter();
    // The call succeeds, and each value says for itself whether there is one.
    let values = values.map(|value| value.and_then(|sample| sample.value)).collect::<Result<Vec<_>, _>>()?;
    let is_set = |value: Option<&SampleValue>| match value {
        Some(SampleValue::U32(number)) => *number != 0,
        Some(SampleValue::U64(number)) => *number != 0,
        _ => false,
    };
    Ok(Rows { pending: is_set(values.first()), failed: is_set(values.get(1)) })
}
