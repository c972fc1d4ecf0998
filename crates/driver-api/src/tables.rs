//! The private tables of `cuGetExportTable`. Names and UUIDs as public interoperability projects describe them;
//! which of them a runtime asks for was seen by tracing its calls.

/// A private table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// The name used in faults, reports and documentation.
    pub name: &'static str,
    /// 16 bytes in memory order.
    pub uuid: [u8; 16],
    /// Whether the runtimes 12.8–13.5 come up without it.
    pub optional: bool,
}

/// The tables that NVIDIA's runtime asks for.
pub const TABLES: [Table; 8] = [
    table("cudart-interface", 0x6bd5_fb6c_5bf4_e74a_8987_d939_12fd_9df9, false),
    table("tools-runtime-callback", 0xa094_798c_2e74_2e74_93f2_0800_200c_0a66, false),
    table("tools-tls", 0x42d8_5a81_23f6_cb47_8298_f6e7_8a3a_ecdc, false),
    table("tools-context", 0x2131_8c60_9714_3248_8ca6_41ff_7324_c8f2, false),
    table("context-local-storage", 0xc693_336e_1121_df11_a8c3_68f3_55d8_9593, false),
    table("context-checks", 0x263e_8860_7cd2_6143_92f6_bbd5_006d_fa7e, false),
    table("integrity-check", 0xd408_2055_bde6_704b_8d34_ba12_3c66_e1f2, false),
    table("optional-12-9", 0xf8cf_f951_2146_8b4e_b9e2_fb46_9e7c_0dd9, true),
];

const fn table(name: &'static str, uuid: u128, optional: bool) -> Table {
    Table { name, uuid: uuid.to_be_bytes(), optional }
}

/// The table with these 16 bytes.
pub fn by_uuid(uuid: &[u8; 16]) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.uuid == *uuid)
}

/// The table with this name.
pub fn by_name(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_stand_in_memory_order() {
        let first = by_name("cudart-interface").and_then(|table| table.uuid.first_chunk::<4>());
        assert_eq!(first, Some(&[0x6b, 0xd5, 0xfb, 0x6c]));
    }

    #[test]
    fn uuids_are_unique() {
        assert!(TABLES.iter().all(|table| by_uuid(&table.uuid) == Some(table)));
    }
}
