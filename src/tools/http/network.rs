//! Closed addresses, which a tool with input from a model must not reach: pure, by the IANA registries of special
//! addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses: all that share the first `bits` bits with `base`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpNetwork {
    base: IpAddr,
    bits: u32,
}

impl IpNetwork {
    const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u32) -> Self {
        Self { base: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), bits }
    }

    const fn v6(base: [u16; 8], bits: u32) -> Self {
        let mut all = 0_u128;
        let mut at = 0;
        while at < base.len() {
            all = all << 16 | base[at] as u128;
            at += 1;
        }
        Self { base: IpAddr::V6(Ipv6Addr::from_bits(all)), bits }
    }

    /// Whether `address` lies in it. An IPv4 network holds no IPv6 address, mapped ones included.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                (base.to_bits() ^ address.to_bits()).checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                (base.to_bits() ^ address.to_bits()).checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for IpNetwork {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (base, bits) = text.split_once('/').map_or((text, None), |(base, bits)| (base, Some(bits)));
        let base: IpAddr = base.parse().map_err(|_| ())?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| ())?;
        if bits > most { Err(()) } else { Ok(Self { base, bits }) }
    }
}

/// Why an address is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosedRange {
    /// The kind of address, with the document that sets it apart.
    pub kind: &'static str,
    /// Whether naming a *host* in the allow-list opens it: true for what a private network is made of. Everything else
    /// opens only when the allow-list holds its network.
    pub by_host: bool,
}

impl fmt::Display for ClosedRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.kind)
    }
}

const fn closed(network: IpNetwork, kind: &'static str) -> (IpNetwork, ClosedRange) {
    (network, ClosedRange { kind, by_host: false })
}

const fn private(network: IpNetwork, kind: &'static str) -> (IpNetwork, ClosedRange) {
    (network, ClosedRange { kind, by_host: true })
}

/// Closed ranges, the more particular ones first. What follows is IANA's registries of special-purpose addresses, plus
/// the metadata services of clouds, which return credentials without authentication.
const RANGES: &[(IpNetwork, ClosedRange)] = &[
    closed(IpNetwork::v4(169, 254, 169, 254, 32), "a metadata service"),
    closed(IpNetwork::v4(169, 254, 170, 2, 32), "a metadata service"),
    closed(IpNetwork::v4(100, 100, 100, 200, 32), "a metadata service"),
    closed(IpNetwork::v4(168, 63, 129, 16, 32), "a metadata service"),
    closed(IpNetwork::v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), "a metadata service"),
    closed(IpNetwork::v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), "a metadata service"),
    closed(IpNetwork::v4(0, 0, 0, 0, 8), "unspecified (RFC 1122)"),
    private(IpNetwork::v4(10, 0, 0, 0, 8), "private (RFC 1918)"),
    private(IpNetwork::v4(100, 64, 0, 0, 10), "shared by a provider (RFC 6598)"),
    private(IpNetwork::v4(127, 0, 0, 0, 8), "loopback (RFC 1122)"),
    closed(IpNetwork::v4(169, 254, 0, 0, 16), "link-local (RFC 3927)"),
    private(IpNetwork::v4(172, 16, 0, 0, 12), "private (RFC 1918)"),
    closed(IpNetwork::v4(192, 0, 0, 0, 24), "reserved for protocols (RFC 6890)"),
    closed(IpNetwork::v4(192, 0, 2, 0, 24), "for documentation (RFC 5737)"),
    closed(IpNetwork::v4(192, 88, 99, 0, 24), "a 6to4 relay (RFC 7526)"),
    private(IpNetwork::v4(192, 168, 0, 0, 16), "private (RFC 1918)"),
    closed(IpNetwork::v4(198, 18, 0, 0, 15), "for benchmarks (RFC 2544)"),
    closed(IpNetwork::v4(198, 51, 100, 0, 24), "for documentation (RFC 5737)"),
    closed(IpNetwork::v4(203, 0, 113, 0, 24), "for documentation (RFC 5737)"),
    closed(IpNetwork::v4(224, 0, 0, 0, 4), "multicast (RFC 5771)"),
    closed(IpNetwork::v4(255, 255, 255, 255, 32), "broadcast (RFC 919)"),
    closed(IpNetwork::v4(240, 0, 0, 0, 4), "reserved (RFC 1112)"),
    private(IpNetwork::v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback (RFC 4291)"),
    closed(IpNetwork::v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified (RFC 4291)"),
    closed(IpNetwork::v6([0, 0, 0, 0, 0, 0, 0, 0], 96), "an IPv4 address in IPv6 (RFC 4291)"),
    closed(IpNetwork::v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), "an IPv4 address in IPv6 (RFC 4291)"),
    closed(IpNetwork::v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 32), "an IPv4 address behind NAT64 (RFC 6052, 8215)"),
    closed(IpNetwork::v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "discarded (RFC 6666)"),
    private(IpNetwork::v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "private (RFC 4193)"),
    closed(IpNetwork::v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local (RFC 4291)"),
    closed(IpNetwork::v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "site-local (RFC 3879)"),
    closed(IpNetwork::v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast (RFC 4291)"),
    closed(IpNetwork::v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "a Teredo tunnel (RFC 4380)"),
    closed(IpNetwork::v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "for documentation (RFC 3849)"),
    closed(IpNetwork::v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "reserved for protocols (RFC 2928)"),
    closed(IpNetwork::v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "a 6to4 tunnel (RFC 3056)"),
    closed(IpNetwork::v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "for documentation (RFC 9637)"),
];

/// The only part of IPv6 that is given out for use (RFC 4291, section 2.4).
const GLOBAL_V6: IpNetwork = IpNetwork::v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// Why `address` is closed; `None` when it belongs to the public internet.
#[must_use]
pub fn closed_by_nature(address: IpAddr) -> Option<ClosedRange> {
    if let Some((_, closed)) = RANGES.iter().find(|(network, _)| network.contains(address)) {
        return Some(*closed);
    }
    let outside = address.is_ipv6() && !GLOBAL_V6.contains(address);
    outside.then_some(ClosedRange { kind: "not given out for use (RFC 4291)", by_host: false })
}

/// Hosts and networks that the configuration opens.
#[derive(Clone, Debug, Default)]
pub struct AllowList {
    hosts: Vec<String>,
    networks: Vec<IpNetwork>,
}

impl AllowList {
    /// Reads `tools.http.allow`.
    ///
    /// # Errors
    /// The reason, naming the entry that is neither a host nor a network.
    pub fn parse(entries: &[String]) -> Result<Self, String> {
        let mut list = Self::default();
        for entry in entries {
            if let Ok(network) = entry.parse() {
                list.networks.push(network);
            } else if is_host(entry) {
                list.hosts.push(plain_host(entry));
            } else {
                return Err(format!(
                    "{entry:?} is neither a host name nor a network; use \"intranet.example\" or \"10.1.0.0/16\""
                ));
            }
        }
        Ok(list)
    }

    /// Why a connection to `address` for `host` is not allowed; `None` when it is.
    #[must_use]
    pub fn objection(&self, host: &str, address: IpAddr) -> Option<ClosedRange> {
        let closed = closed_by_nature(address)?;
        let opened = self.networks.iter().any(|network| network.contains(address))
            || (closed.by_host && self.hosts.contains(&plain_host(host)));
        (!opened).then_some(closed)
    }
}

/// A host name as it is compared: lower case, without the dot of the root.
#[must_use]
pub(super) fn plain_host(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

fn is_host(text: &str) -> bool {
    // Names whose last part is a number are spellings of addresses.
    let numeric = text.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_digit()));
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !text.is_empty() && !numeric && text.len() <= 253 && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn every_special_range_is_closed_at_both_ends() {
        for text in [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.0.0",
            "169.254.169.254",
            "169.254.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "168.63.129.16",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:169.254.169.254",
            "::ffff:8.8.8.8",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "100::1",
            "fc00::1",
            "fd00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:2::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "3fff::1",
            "4000::1",
            "5f00::1",
        ] {
            assert!(closed_by_nature(address(text)).is_some(), "{text} is open");
        }
    }

    #[test]
    fn the_neighbours_of_special_ranges_are_open() {
        for text in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "8.8.8.8",
            "2606:4700::1111",
            "2001:200::1",
            "2a00::1",
            "3ffe::1",
        ] {
            assert_eq!(closed_by_nature(address(text)), None, "{text}");
        }
    }

    #[test]
    fn a_host_opens_private_addresses_and_a_network_opens_what_it_holds() {
        let entries = ["intranet", "169.254.169.254/32", "fd00::/8"].map(ToOwned::to_owned);
        let list = AllowList::parse(&entries).expect("entries");
        assert_eq!(list.objection("Intranet.", address("10.0.0.1")), None);
        assert!(list.objection("intranet.evil.example", address("10.0.0.1")).is_some());
        assert!(list.objection("intranet", address("100.100.100.200")).is_some(), "metadata is opened by network only");
        assert!(list.objection("intranet", address("0.0.0.0")).is_some());
        assert_eq!(list.objection("any", address("169.254.169.254")), None);
        assert_eq!(list.objection("any", address("fd00::1")), None);
        assert!(list.objection("any", address("::ffff:169.254.169.254")).is_some());
        assert_eq!(list.objection("any", address("8.8.8.8")), None);
    }

    #[test]
    fn an_entry_that_is_neither_is_named() {
        for entry in ["10.0.0.0/33", "a b", "", "http://x", "10.0.0", "::/129", "0x7f000001", "*"] {
            let error = AllowList::parse(&[entry.to_owned()]).expect_err(entry);
            assert!(error.contains(&format!("{entry:?}")), "{error}");
        }
        assert!(IpNetwork::from_str("0.0.0.0/0").expect("a network").contains(address("1.2.3.4")));
    }
}
