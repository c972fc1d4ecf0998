//! `status --nodes`: what each agent says of its pools.

use super::*;

fn agent_on(node: &str, name: &str) -> Value {
    let mut agent = agent(name, "True");
    agent["spec"]["nodeName"] = json!(node);
    agent
}

fn pools_of(agent: &str) -> String {
    format!("/api/v1/namespaces/firstlight-system/pods/{agent}:9400/proxy/pools")
}

fn cluster_of_nodes() -> ApiServer {
    let why = "NVML hangs: nvmlDeviceGetMemoryInfo has not returned for 20 s";
    ApiServer::default()
        .with(
            PODS,
            list_of("Pod", &[agent_on("node-1", "a"), agent_on("node-2", "b"), agent_on("node-3", "c")]),
        )
        .with(
            &pools_of("a"),
            json!({"pools": [
                {"name": "gpu", "driver": "direct", "driver_version": "580.95.05", "devices": [
                    {"name": "GPU-0", "units": 2, "healthy": true},
                    {"name": "GPU-1", "units": 2, "healthy": false, "reason": "nvml-hangs", "why": why},
                ]},
                {"name": "simulated", "driver": "simulator", "devices": [
                    {"name": "GPU-2", "units": 1, "healthy": true},
                ]},
            ]}),
        )
        .with(
            &pools_of("b"),
            json!({"pools": [
                {"name": "gpu", "driver": "direct", "remark": "this node has no NVIDIA card", "devices": []},
            ]}),
        )
        .failing(&pools_of("c"), 503, "no route to host")
}

fn nodes_of(server: ApiServer, words: &[&str]) -> String {
    let all = ["kubectl-firstlight", "status", "--nodes"].iter().chain(words);
    let Command::Status(args) = Args::try_parse_from(all).unwrap().command else { panic!("not status") };
    let nodes = server.asked(async |client| nodes::ask(&client, None).await).result.unwrap();
    let mut out = Vec::new();
    print_nodes(&nodes, args.output, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn every_node_is_shown_with_its_drivers_and_devices_and_one_that_does_not_answer_too() {
    golden("nodes.txt", &nodes_of(cluster_of_nodes(), &[]));
    golden("nodes-wide.txt", &nodes_of(cluster_of_nodes(), &["-o", "wide"]));
}

#[test]
fn machines_read_the_same() {
    let nodes: Value = serde_json::from_str(&nodes_of(cluster_of_nodes(), &["-o", "json"])).unwrap();
    assert_eq!(nodes[0]["pools"][0]["devices"][1]["reason"], "nvml-hangs");
    assert_eq!(nodes[2]["problem"], "the agent firstlight-system/c cannot be reached: no route to host");
}

#[test]
fn a_cluster_without_agents_says_where_to_look() {
    let text = nodes_of(ApiServer::default().with(PODS, list_of("Pod", &[])), &[]);
    assert!(text.starts_with("no Firstlight agent runs here; `kubectl get daemonsets"), "{text}");
}
