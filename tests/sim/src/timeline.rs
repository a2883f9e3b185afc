//! A run as a page: what happened, in words, and where the edges were.

use crate::world::World;

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A page without anything from elsewhere.
#[must_use]
pub fn html(world: &World) -> String {
    let end = (world.now - world.base).as_secs_f64().max(0.001);
    let mut rows = String::new();
    for (at, node) in world.nodes.iter().enumerate() {
        let y = 20 + at * 24;
        rows += &format!("<text x='4' y='{}'>{}</text>", y + 12, escape(&node.name));
        let mut last = (0.0, "mesh");
        let changes = node.topologies.iter().map(|(at, topology, _)| {
            let name = match topology {
                segue_model::Topology::Mesh => "mesh",
                segue_model::Topology::Mixed => "mixed",
                segue_model::Topology::Relayed => "relayed",
            };
            (at.saturating_duration_since(world.base).as_secs_f64(), name)
        });
        for (time, name) in changes.chain([(end, "end")]) {
            let (x, width) = (100.0 + last.0 / end * 880.0, (time - last.0) / end * 880.0);
            rows += &format!("<rect class='{}' x='{x:.1}' y='{y}' width='{width:.1}' height='16'/>", last.1);
            last = (time, name);
        }
    }
    let lines = world.trace.full.iter().flatten();
    let list: String = lines
        .map(|(time, line)| {
            format!("<tr><td>{time:.3}</td><td>{}</td></tr>\n", escape(&line.chars().take(400).collect::<String>()))
        })
        .collect();
    format!(
        "<!doctype html><meta charset='utf-8'><title>seed {}</title><style>body{{font:13px sans-serif}}td{{font:12px monospace;vertical-align:top;padding:1px 8px}}.mesh{{fill:#3a8}}.mixed{{fill:#da4}}.relayed{{fill:#47c}}</style>\
         <h1>Seed {}, {end:.1} s</h1><p>Topology as each participant saw it: green mesh, yellow mixed, blue relayed.</p>\
         <svg width='1000' height='{}'>{rows}</svg><table>{list}</table>",
        world.config.seed,
        world.config.seed,
        30 + world.nodes.len() * 24
    )
}
