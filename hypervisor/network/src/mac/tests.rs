use super::*;
use alloc::string::ToString;
use proptest::prelude::*;

#[test]
fn an_address_is_six_pairs_of_digits() {
    let address: MacAddress = "52:54:00:aB:cd:0F".parse().unwrap();
    assert_eq!(address, MacAddress([0x52, 0x54, 0, 0xab, 0xcd, 0x0f]));
    for text in [
        "",
        "52:54:00:ab:cd",
        "52:54:00:ab:cd:0f:00",
        "52:54:00:ab:cd:+f",
        "52-54-00-ab-cd-0f",
        "5:54:00:ab:cd:0f",
    ] {
        assert_eq!(text.parse::<MacAddress>(), Err(ParseError), "{text}");
    }
}

#[test]
fn groups_are_no_stations() {
    assert!(MacAddress::BROADCAST.is_group() && !MacAddress::BROADCAST.is_station());
    assert!(!MacAddress([0; 6]).is_station());
    assert!(MacAddress([2, 0, 0, 0, 0, 0]).is_station());
    assert!(MacAddress([1, 0x80, 0xc2, 0, 0, 15]).is_reserved());
    assert!(!MacAddress([1, 0x80, 0xc2, 0, 0, 16]).is_reserved());
    assert!(!MacAddress([1, 0x80, 0xc2, 0, 1, 0]).is_reserved());
}

proptest! {
    #[test]
    fn an_address_reads_back(bytes: [u8; 6]) {
        let address = MacAddress(bytes);
        prop_assert_eq!(address.to_string().parse(), Ok(address));
        let json = serde_json::to_string(&address).unwrap();
        prop_assert_eq!(&json, &std::format!("\"{address}\""));
        prop_assert_eq!(serde_json::from_str::<MacAddress>(&json).unwrap(), address);
        let packed = postcard::to_allocvec(&address).unwrap();
        prop_assert_eq!(packed.len(), 6);
        prop_assert_eq!(postcard::from_bytes::<MacAddress>(&packed).unwrap(), address);
    }
}
