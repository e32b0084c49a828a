//! Templates and instances: which there are, and what each is made of.

use skep::declaration::{LoadState, load_file, merged};

use super::{Root, facts, is_valid, named, problems};

const TEMPLATE: &str = "[Container]\nRoot=/srv/tree\nEphemeral=yes\nEnvironment=I=%i\n";

/// Environment of each valid declaration, by name.
fn environments(root: &Root) -> Vec<(String, String)> {
    let all = root.load();
    let value = |state: &LoadState| match state {
        LoadState::Valid(wanted) => {
            let values = wanted.spec.environment.iter();
            Some(values.map(|one| one.value.clone()).collect::<String>())
        }
        _ => None,
    };
    let pair = |one: &skep::declaration::Loaded| Some((one.name.clone(), value(&one.state)?));
    all.iter().filter_map(pair).collect()
}

fn unlink(root: &Root, inside: &str) {
    std::fs::remove_file(root.at(inside)).unwrap();
}

#[test]
fn a_template_alone_is_no_container() {
    let root = Root::new();
    root.put("/etc/skep/web@.container", TEMPLATE);
    let all = root.load();
    assert_eq!(all.len(), 1);
    let template = named(&all, "web@");
    assert_eq!(template.state, LoadState::Template);
    assert!(!template.unit);
    assert!(merged(root.path(), "web@1").is_none());
}

#[test]
fn a_wrong_template_says_so_without_instances() {
    let root = Root::new();
    root.put("/etc/skep/web@.container", "[Container]\nRoot=a\n");
    root.put("/etc/skep/-x@.container", TEMPLATE);
    let all = root.load();
    assert!(
        problems(named(&all, "web@"))[0]
            .message
            .contains("not absolute")
    );
    assert!(
        problems(named(&all, "-x@"))[0]
            .message
            .contains("starts with")
    );
}

#[test]
fn links_and_names_make_instances() {
    let root = Root::new();
    let text = format!("{TEMPLATE}[Install]\nInstances=a b\nInstances=\nInstances=c d/e\n");
    root.put("/usr/lib/skep/web@.container", text.replace(" d/e", ""));
    root.link("web@.container", "/usr/lib/skep/web@1.container");
    root.link("/usr/lib/skep/web@.container", "/etc/skep/web@2.container");
    let pairs = environments(&root);
    let want = [("web@1", "1"), ("web@2", "2"), ("web@c", "c")];
    assert_eq!(
        pairs,
        want.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    // The template that is in force counts, and not the one to which a link happens to lead.
    root.put("/etc/skep/web@.container", TEMPLATE.replace("I=", "I=x"));
    let pairs = environments(&root);
    let want = [("web@1", "x1"), ("web@2", "x2")];
    assert_eq!(
        pairs,
        want.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    // A word that is no name is a problem of those that are.
    root.put("/etc/skep/web@.container", &text);
    assert!(
        problems(named(&root.load(), "web@c"))[0]
            .message
            .contains("\"d/e\"")
    );
    // Masking the template masks its instances.
    unlink(&root, "/etc/skep/web@.container");
    root.link("/dev/null", "/etc/skep/web@.container");
    let all = root.load();
    assert_eq!(named(&all, "web@1").state, LoadState::Masked);
    // Without a template there is nothing to make them from.
    unlink(&root, "/etc/skep/web@.container");
    unlink(&root, "/usr/lib/skep/web@.container");
    let all = root.load();
    assert!(
        problems(named(&all, "web@2"))[0]
            .message
            .contains("there is no template web@.container")
    );
}

#[test]
fn a_template_that_is_not_understood_may_have_any_instance() {
    let root = Root::new();
    root.put("/etc/skep/w@.container", TEMPLATE);
    root.link("w@.container", "/etc/skep/w@1.container");
    let hidden =
        |all: &[skep::declaration::Loaded], name: &str| all.iter().any(|one| one.hides(name));
    assert!(!hidden(&root.load(), "w@2"));
    for wrong in ["[Instal]\n", "[Container]\nBnd=x\n", "what\n"] {
        root.put("/etc/skep/w@.container", format!("{TEMPLATE}{wrong}"));
        let all = root.load();
        assert!(hidden(&all, "w@2"), "{wrong}");
        assert!(!hidden(&all, "w") && !hidden(&all, "v@2"), "{wrong}");
        assert_eq!(problems(named(&all, "w@")), problems(named(&all, "w@1")));
    }
    // A wrong value hides nothing.
    root.put("/etc/skep/w@.container", format!("{TEMPLATE}Hostname=-\n"));
    assert!(!hidden(&root.load(), "w@2"));
}

#[test]
fn dropins_of_the_instance_come_first() {
    let root = Root::new();
    root.put("/etc/skep/web@.container", TEMPLATE);
    root.link("web@.container", "/etc/skep/web@1.container");
    let variable = |value: &str| format!("[Container]\nEnvironment=I={value}\n");
    root.put("/usr/lib/skep/web@1.container.d/20.conf", variable("b"));
    root.put("/etc/skep/web@.container.d/20.conf", variable("lost"));
    root.put("/etc/skep/web@.container.d/10.conf", variable("a"));
    root.put("/etc/skep/container.d/30.conf", variable("c"));
    root.put("/etc/skep/web@7.container.d/10.conf", variable("nobody"));
    let all = root.load();
    assert_eq!(
        environments(&root),
        [("web@1".to_owned(), "1abc".to_owned())]
    );
    assert!(
        named(&all, "web@7.container.d").warnings[0]
            .message
            .contains("without a declaration")
    );
    assert!(!all.iter().any(|one| one.name == "web@.container.d"));
    let lines = merged(root.path(), "web@1").unwrap().unwrap();
    assert!(
        lines
            .iter()
            .any(|line| line.value == "I=b" && line.path.ends_with("web@1.container.d/20.conf"))
    );
}

#[test]
fn one_tree_has_one_writer() {
    let root = Root::new();
    let text = "[Container]\nRoot=/srv/tree\n[Install]\nInstances=1 2\nWantedBy=machines.target\n";
    root.put("/etc/skep/web@.container", text);
    let all = root.load();
    for name in ["web@1", "web@2"] {
        let problem = &problems(named(&all, name))[0];
        assert_eq!(problem.line, Some(2));
        assert!(problem.message.contains("Ephemeral=yes"), "{problem}");
    }
    root.put(
        "/etc/skep/web@.container",
        text.replace("Root=", "ReadOnly=yes\nRoot="),
    );
    assert!(is_valid(named(&root.load(), "web@1")));
    root.put("/etc/skep/web@.container", text.replace("/tree", "/%i"));
    assert!(is_valid(named(&root.load(), "web@2")));
}

#[test]
fn a_named_file_may_be_either() {
    let root = Root::new();
    root.put("/home/web@.container", TEMPLATE);
    root.put("/home/web@1.container", TEMPLATE);
    root.put("/home/web@.container.d/10.conf", "[Container]\nRoot=a\n");
    for name in ["web@.container", "web@1.container"] {
        let loaded = load_file(
            &root.path().join("home").join(name),
            root.path(),
            &facts(None),
        );
        assert!(
            problems(&loaded)[0].message.contains("not absolute"),
            "{name}"
        );
    }
}

#[test]
fn only_a_template_names_instances_and_as_they_are() {
    let root = Root::new();
    let first = |name: &str| problems(named(&root.load(), name))[0].to_string();
    root.put(
        "/etc/skep/web@.container",
        format!("{TEMPLATE}[Install]\nInstances=%H\n"),
    );
    let said = first("web@");
    assert!(
        said.contains("web@.container:6: Instances=: \"%H\""),
        "{said}"
    );
    let install = "[Install]\nInstances=2 3\n";
    root.put("/etc/skep/web@.container", TEMPLATE);
    root.put("/etc/skep/web@1.container", format!("{TEMPLATE}{install}"));
    let said = first("web@1");
    assert!(
        said.ends_with("web@1.container:6: Instances=: only a template has instances"),
        "{said}"
    );
    // Drop-ins of the template may name more, whatever files these have.
    root.put("/etc/skep/web@1.container", TEMPLATE);
    root.put("/etc/skep/web@.container.d/10.conf", install);
    let all = root.load();
    assert!(
        ["web@1", "web@2", "web@3"]
            .iter()
            .all(|name| is_valid(named(&all, name)))
    );
}

#[test]
fn the_network_of_an_instance_may_have_its_name() {
    let root = Root::new();
    let network = |bridge: &str, inside: &str| {
        let text = format!("{TEMPLATE}Network=bridge:{bridge}\nInterfaceName={inside}\n");
        root.put("/etc/skep/web@.container", text);
        root.link("web@.container", "/etc/skep/web@7.container");
        let links = match &named(&root.load(), "web@7").state {
            LoadState::Valid(wanted) => wanted.spec.net.links.clone(),
            other => panic!("{other:?}"),
        };
        std::fs::remove_file(root.at("/etc/skep/web@7.container")).unwrap();
        links
    };
    assert_eq!(network("br%i", "in%i"), network("br7", "in7"));
}
