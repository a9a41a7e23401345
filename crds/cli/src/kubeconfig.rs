//! Which API server, and as whom: found as kubectl finds it.

use anyhow::Context;
use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// By the file that is named, else by those of `KUBECONFIG` together, else by `~/.kube/config`; where none of them is there, as the
/// ServiceAccount of the pod that this runs in.
///
/// # Errors
/// When a file that is there, or is named, cannot be read, and when nothing of that is there.
pub async fn find(file: Option<&Path>, context: Option<&str>) -> anyhow::Result<Config> {
    let places = match file {
        Some(file) => vec![file.to_owned()],
        None => places(std::env::var_os("KUBECONFIG"), std::env::home_dir()),
    };
    let found = if file.is_some() { places.clone() } else { existing(&places) };
    let read = merged(&found)?;
    if file.is_none() && context.is_none() && is_empty(&read) {
        let shown: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
        return Config::incluster().with_context(|| {
            format!(
                "no cluster to talk to: set KUBECONFIG or --kubeconfig; nothing is in {}, and this is no pod with a ServiceAccount",
                shown.join(", ")
            )
        });
    }
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(read, &options).await;
    config.context("no cluster to talk to: set KUBECONFIG or --kubeconfig")
}

/// The files that count when none is named.
fn places(variable: Option<OsString>, home: Option<PathBuf>) -> Vec<PathBuf> {
    let listed = variable.iter().flat_map(std::env::split_paths);
    let listed: Vec<PathBuf> = listed.filter(|path| !path.as_os_str().is_empty()).collect();
    match listed.is_empty() {
        true => home.map(|home| home.join(".kube").join("config")).into_iter().collect(),
        false => listed,
    }
}

/// Those that are there: a list is often the same on all machines, and its files are not. One of which it cannot be known is
/// read, which says why it cannot be.
fn existing(places: &[PathBuf]) -> Vec<PathBuf> {
    places.iter().filter(|path| path.try_exists().unwrap_or(true)).cloned().collect()
}

/// The files together: what the first says counts.
fn merged(files: &[PathBuf]) -> anyhow::Result<Kubeconfig> {
    files.iter().try_fold(Kubeconfig::default(), |all, path| {
        let read = Kubeconfig::read_from(path).and_then(|read| all.merge(read));
        read.with_context(|| format!("cannot read the kubeconfig {}", path.display()))
    })
}

/// It names nothing that could be talked to.
fn is_empty(config: &Kubeconfig) -> bool {
    let Kubeconfig { clusters, auth_infos, contexts, current_context, .. } = config;
    let named = current_context.as_ref().is_some_and(|name| !name.is_empty());
    clusters.is_empty() && auth_infos.is_empty() && contexts.is_empty() && !named
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn kubeconfig(name: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {name}\nclusters: [{{name: {name}, cluster: {{server: 'https://{name}'}}}}]\n\
             users: [{{name: {name}, user: {{}}}}]\ncontexts: [{{name: {name}, context: {{cluster: {name}, user: {name}}}}}]\n"
        )
    }

    #[test]
    fn a_file_of_the_list_that_is_not_there_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let [first, gone, second] = ["first", "gone", "second"].map(|name| folder.path().join(name));
        fs::write(&first, kubeconfig("first")).unwrap();
        fs::write(&second, kubeconfig("second")).unwrap();
        let list = std::env::join_paths([&gone, &first, &PathBuf::new(), &second]).unwrap();
        let all = merged(&existing(&places(Some(list), None))).unwrap();
        assert_eq!((all.current_context.as_deref(), all.clusters.len()), (Some("first"), 2));
        // One that is there must be one.
        fs::write(&gone, "clusters: 5").unwrap();
        let error = merged(&existing(&[first, gone])).unwrap_err().to_string();
        assert!(error.contains("/gone"), "{error}");
    }

    #[test]
    fn without_a_list_the_file_at_home_counts_and_nothing_at_all_is_no_cluster() {
        let home = Some(PathBuf::from("/home/a"));
        assert_eq!(places(None, home.clone()), [PathBuf::from("/home/a/.kube/config")]);
        assert_eq!(places(Some(":".into()), home.clone()), [PathBuf::from("/home/a/.kube/config")]);
        assert_eq!(places(Some("/x".into()), home), [PathBuf::from("/x")]);
        assert!(is_empty(&merged(&[]).unwrap()));
    }
}
