use super::*;

fn address(number: u32) -> MacAddress {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddress([2, 0, a, b, c, d])
}

#[test]
fn an_address_is_known_in_its_vlan_until_it_is_old() {
    let mut learned = Learned::new(8);
    let vlan = Vlan::new(5);
    learned.learn(address(1), vlan, 10);
    assert_eq!(learned.seen_ns(address(1), vlan, 10 + AGE_NS - 1), Some(10));
    assert_eq!(learned.seen_ns(address(1), vlan, 10 + AGE_NS), None);
    assert_eq!(learned.seen_ns(address(1), None, 11), None);
    assert_eq!(learned.seen_ns(address(2), vlan, 11), None);
    learned.learn(address(1), vlan, 20);
    assert_eq!(learned.seen_ns(address(1), vlan, 10 + AGE_NS), Some(20));
    learned.clear();
    assert_eq!(learned.seen_ns(address(1), vlan, 21), None);
}

#[test]
fn a_flood_forgets_the_oldest_and_the_latest_is_always_known() {
    let mut learned = Learned::new(4);
    assert_eq!(learned.sets.len(), 1);
    for number in 0..1000 {
        learned.learn(address(number), None, u64::from(number));
        assert_eq!(learned.seen_ns(address(number), None, 1000), Some(u64::from(number)));
    }
    assert!((0..996).all(|number| learned.seen_ns(address(number), None, 1000).is_none()));
    assert!((996..1000).all(|number| learned.seen_ns(address(number), None, 1000).is_some()));
}

#[test]
fn addresses_spread_over_the_table() {
    let mut learned = Learned::new(1024);
    for number in 0..512 {
        learned.learn(address(number), None, 1);
    }
    let known = (0..512).filter(|number| learned.seen_ns(address(*number), None, 1).is_some()).count();
    assert!(known > 480, "{known}");
}
