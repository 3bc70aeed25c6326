//! Google's host names, for which the emulator can stand.

/// The regions of Google Cloud. The service has more of them each year, so nothing else of the
/// emulator depends on this list.
///
/// Source: <https://cloud.google.com/vertex-ai/docs/general/locations>.
const REGIONS: [&str; 45] = [
    "africa-south1",
    "asia-east1",
    "asia-east2",
    "asia-northeast1",
    "asia-northeast2",
    "asia-northeast3",
    "asia-south1",
    "asia-south2",
    "asia-southeast1",
    "asia-southeast2",
    "asia-southeast3",
    "australia-southeast1",
    "australia-southeast2",
    "europe-central2",
    "europe-north1",
    "europe-north2",
    "europe-southwest1",
    "europe-west1",
    "europe-west2",
    "europe-west3",
    "europe-west4",
    "europe-west6",
    "europe-west8",
    "europe-west9",
    "europe-west10",
    "europe-west12",
    "me-central1",
    "me-central2",
    "me-west1",
    "northamerica-northeast1",
    "northamerica-northeast2",
    "northamerica-south1",
    "southamerica-east1",
    "southamerica-west1",
    "us-central1",
    "us-central2",
    "us-east1",
    "us-east4",
    "us-east5",
    "us-south1",
    "us-west1",
    "us-west2",
    "us-west3",
    "us-west4",
    "us-west8",
];

/// The hosts that do not depend on a location.
const FIXED: [&str; 12] = [
    "aiplatform.googleapis.com",
    "aiplatform.us.rep.googleapis.com",
    "aiplatform.eu.rep.googleapis.com",
    // The service refuses these three names, and so does the emulator with `host_aware`.
    "us-aiplatform.googleapis.com",
    "eu-aiplatform.googleapis.com",
    "global-aiplatform.googleapis.com",
    "oauth2.googleapis.com",
    "sts.googleapis.com",
    "iamcredentials.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "www.googleapis.com",
    "accounts.google.com",
];

/// The hosts of the API and of the services that issue tokens, without the metadata server.
pub(crate) fn all<'a>(locations: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut hosts: Vec<String> = FIXED.iter().map(|&host| host.to_owned()).collect();
    for location in REGIONS.into_iter().chain(locations) {
        let host = match location {
            // These have the fixed hosts.
            "global" | "us" | "eu" => continue,
            location => format!("{location}-aiplatform.googleapis.com"),
        };
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_location_has_its_host_once() {
        let hosts = all(["us-central1", "mars-north1", "global", "mars-north1"]);
        for host in ["us-central1-aiplatform", "mars-north1-aiplatform", "aiplatform"] {
            let host = format!("{host}.googleapis.com");
            assert_eq!(hosts.iter().filter(|known| **known == host).count(), 1, "{host}");
        }
        assert_eq!(hosts.len(), FIXED.len() + REGIONS.len() + 1);
    }
}
