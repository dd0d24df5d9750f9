//! Who founds the cluster, and the ids that follow from it.
//!
//! ```text
//!   member id  = first 8 bytes of SHA-1( sorted peer URLs ‖ token )
//!   cluster id = first 8 bytes of SHA-1( member ids, ascending, 8 bytes each, big-endian )
//! ```
//!
//! So two members that were given the same settings compute the same ids without talking, and
//! clients that compare ids see those that etcd would show.
//!
//! Founding happens once in the life of a data directory. Later starts ignore `--initial-*`, as
//! etcd does: therefore the checks are in [`InitialCluster::found`] and not in the reading of the
//! configuration.

use std::collections::BTreeMap;

use sha1::{Digest, Sha1};
use state::{ClusterId, MemberId};

use super::urls::{Url, UrlError, join};

/// Founding a cluster or joining one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialState {
    /// Founding.
    New,
    /// Joining.
    Existing,
}

/// The settings of the first start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialCluster {
    /// Founding or joining.
    pub state: InitialState,
    /// The salt of the ids.
    pub token: String,
    /// This member.
    pub name: String,
    /// Where this member says others find it.
    pub advertised: Vec<Url>,
    /// The founders, each with its peer URLs, sorted.
    pub founders: BTreeMap<String, Vec<Url>>,
}

/// What a member is when its cluster is founded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founding {
    /// This member.
    pub member_id: MemberId,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Its peer URLs.
    pub peer_urls: Vec<Url>,
}

/// Why a member cannot found its cluster. The first three texts are etcd's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoundingError {
    /// The member is not among the founders.
    #[error("couldn't find local name {0:?} in the initial cluster configuration")]
    NoSuchName(String),
    /// The founders say more about this member than it does.
    #[error(
        "--initial-cluster has {entry} but missing from --initial-advertise-peer-urls={advertised}"
    )]
    NotAdvertised {
        /// As `name=url`.
        entry: String,
        /// What the member says.
        advertised: String,
    },
    /// The member says more about itself than the founders do.
    #[error(
        "--initial-advertise-peer-urls has {url} but missing from --initial-cluster={founders}"
    )]
    NotListed {
        /// The URL.
        url: String,
        /// As `name=url,…`.
        founders: String,
    },
    /// More than one founder.
    #[error(
        "--initial-cluster names {0} members, but clusters of several members are not available in this version"
    )]
    Several(usize),
    /// Joining is part of clustering.
    #[error(
        "--initial-cluster-state is existing and the data directory is new, but joining a cluster is not available in this version"
    )]
    Joining,
}

impl InitialCluster {
    /// Reads `a=http://…,a=http://…,b=http://…`. A name may stand several times.
    pub(crate) fn parse_founders(text: &str) -> Result<BTreeMap<String, Vec<Url>>, UrlError> {
        let mut founders: BTreeMap<String, Vec<Url>> = BTreeMap::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (name, url) = entry.split_once('=').unwrap_or((entry, ""));
            founders.entry(name.to_owned()).or_default().push(Url::parse(url)?);
        }
        for urls in founders.values_mut() {
            urls.sort();
            urls.dedup();
        }
        Ok(founders)
    }

    /// The ids of a member whose data directory is new.
    ///
    /// `localhost` and `127.0.0.1` are the same host here; no other name is looked up, so that a
    /// host must be written the same way in both lists.
    pub fn found(&self) -> Result<Founding, FoundingError> {
        let peer_urls = self.own_urls()?.clone();
        if self.founders.len() > 1 {
            return Err(FoundingError::Several(self.founders.len()));
        }
        if self.state == InitialState::Existing {
            return Err(FoundingError::Joining);
        }
        let member_id = member_id(&peer_urls, &self.token);
        Ok(Founding { member_id, cluster_id: cluster_id(&[member_id]), peer_urls })
    }

    /// The founders' entry of this member, which must agree with what it says of itself.
    fn own_urls(&self) -> Result<&Vec<Url>, FoundingError> {
        let listed = self
            .founders
            .get(&self.name)
            .ok_or_else(|| FoundingError::NoSuchName(self.name.clone()))?;
        let holds = |urls: &[Url], url: &Url| urls.iter().any(|u| u.resolved() == url.resolved());
        if self.advertised.is_empty() {
            return Ok(listed);
        }
        if let Some(url) = listed.iter().find(|url| !holds(&self.advertised, url)) {
            return Err(FoundingError::NotAdvertised {
                entry: format!("{}={url}", self.name),
                advertised: join(&self.advertised),
            });
        }
        if let Some(url) = self.advertised.iter().find(|url| !holds(listed, url)) {
            return Err(FoundingError::NotListed {
                url: url.to_string(),
                founders: self.listing(),
            });
        }
        Ok(listed)
    }

    fn listing(&self) -> String {
        let entries = self
            .founders
            .iter()
            .flat_map(|(name, urls)| urls.iter().map(move |url| format!("{name}={url}")));
        entries.collect::<Vec<_>>().join(",")
    }
}

/// The id of a founder. `peer_urls` may come in any order.
#[must_use]
pub fn member_id(peer_urls: &[Url], token: &str) -> MemberId {
    let mut sorted: Vec<&str> = peer_urls.iter().map(Url::as_str).collect();
    sorted.sort_unstable();
    let mut hash = Sha1::new();
    for url in sorted {
        hash.update(url);
    }
    hash.update(token);
    MemberId(first_eight(&hash.finalize()))
}

/// The id of the cluster that these members found.
#[must_use]
pub fn cluster_id(founders: &[MemberId]) -> ClusterId {
    let mut sorted: Vec<u64> = founders.iter().map(|member| member.0).collect();
    sorted.sort_unstable();
    let mut hash = Sha1::new();
    for id in sorted {
        hash.update(id.to_be_bytes());
    }
    ClusterId(first_eight(&hash.finalize()))
}

fn first_eight(digest: &[u8]) -> u64 {
    u64::from_be_bytes(digest[..8].try_into().expect("SHA-1 gives 20 bytes"))
}

#[cfg(test)]
mod tests {
    use super::{InitialCluster, InitialState, Url, cluster_id, member_id};

    fn cluster(name: &str, founders: &str, advertised: &str, token: &str) -> InitialCluster {
        InitialCluster {
            state: InitialState::New,
            token: token.to_owned(),
            name: name.to_owned(),
            advertised: Url::parse_list(advertised).expect("advertised URLs"),
            founders: InitialCluster::parse_founders(founders).expect("founders"),
        }
    }

    /// Recorded from the log of etcd 3.7.3 started with these settings.
    #[test]
    fn the_ids_are_those_of_etcd() {
        for (founders, token, member, cluster_id) in [
            (
                "m=http://localhost:2380",
                "etcd-cluster",
                0x8e9e_05c5_2164_694d,
                0xcdf8_1819_4e3a_8c32,
            ),
            (
                "m=http://127.0.0.1:41380",
                "etcd-cluster",
                0xec13_14ea_5283_8568,
                0xdfd3_96ec_7b4c_7b9e,
            ),
            (
                "m=http://127.0.0.1:41380,m=http://127.0.0.1:41370",
                "tkn",
                0x8dcc_0b9b_5d77_1123,
                0x60b9_b196_f9cb_00f7_u64,
            ),
        ] {
            let founding = cluster("m", founders, "", token).found().expect(founders);
            assert_eq!(founding.member_id.0, member, "{founders}");
            assert_eq!(founding.cluster_id.0, cluster_id, "{founders}");
        }
    }

    #[test]
    fn the_order_of_urls_and_members_does_not_matter() {
        let urls = ["http://b:1", "http://a:1"].map(|url| Url::parse(url).expect(url));
        let reversed = [urls[1].clone(), urls[0].clone()];
        assert_eq!(member_id(&urls, "t"), member_id(&reversed, "t"));
        let (one, two) = (member_id(&urls, "t"), member_id(&urls, "u"));
        assert_ne!(one, two, "the token is part of the id");
        assert_eq!(cluster_id(&[one, two]), cluster_id(&[two, one]));
    }

    #[test]
    fn a_member_must_agree_with_the_founders() {
        let one = "http://127.0.0.1:1";
        for (founders, advertised, message) in [
            (
                "b=http://127.0.0.1:1",
                one,
                "couldn't find local name \"a\" in the initial cluster configuration",
            ),
            ("", one, "couldn't find local name \"a\" in the initial cluster configuration"),
            (
                "a=http://127.0.0.1:2",
                one,
                "--initial-cluster has a=http://127.0.0.1:2 but missing from --initial-advertise-peer-urls=http://127.0.0.1:1",
            ),
            (
                "a=http://127.0.0.1:1",
                "http://127.0.0.1:1,http://127.0.0.1:2",
                "--initial-advertise-peer-urls has http://127.0.0.1:2 but missing from --initial-cluster=a=http://127.0.0.1:1",
            ),
            (
                "a=http://127.0.0.1:1,b=http://127.0.0.1:2",
                one,
                "--initial-cluster names 2 members, but clusters of several members are not available in this version",
            ),
        ] {
            let error = cluster("a", founders, advertised, "t").found().expect_err(founders);
            assert_eq!(error.to_string(), message);
        }
        cluster("a", "a=http://127.0.0.1:1", "http://localhost:1", "t").found().expect("one host");
        let mut joining = cluster("a", "a=http://127.0.0.1:1", one, "t");
        joining.state = InitialState::Existing;
        joining.found().expect_err("joining");
    }
}
