//! What is sent to the model, and what a tool call costs between its call and its result.

use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::home::Home;
use crate::model::Model;
use crate::stats::{Samples, figure, millis};
use crate::tty::{Tty, is_ready};

const CALLS: usize = 20;

pub(crate) fn all() {
    size();
    foreground();
}

/// The first request, and whether the second one begins with it.
fn size() {
    let model = Model::start();
    let home = Home::on(&model);
    let (mut tty, _) = Tty::start(home.on_terminal(&[]), is_ready);
    tty.send("hi");
    let first = model.next();
    sleep(Duration::from_millis(300));
    tty.send("hi again");
    let second = model.next();
    let (a, b) = (first.json(), second.json());
    let bytes = |value: &Value| value.to_string().len();
    figure(
        "first request",
        &format!(
            "{} bytes: system {}, {} tools {}",
            first.body.len(),
            bytes(&a["messages"][0]),
            a["tools"].as_array().map_or(0, Vec::len),
            bytes(&a["tools"])
        ),
    );
    let head = a["messages"].as_array().unwrap().len();
    // As text: two maps of another order are equal values but not equal bytes.
    let text = |request: &Value| {
        let history = request["messages"].as_array().unwrap()[..head].to_vec();
        (Value::from(history).to_string(), request["tools"].to_string())
    };
    let (before, after) = (text(&a), text(&b));
    let common = first.body.iter().zip(&second.body).take_while(|(x, y)| x == y).count();
    figure(
        "the second request begins with the first",
        &format!(
            "messages {}, tools {}; {common} equal bytes",
            before.0 == after.0,
            before.1 == after.1
        ),
    );
}

/// From the answer that calls `true` to the request that brings the result.
fn foreground() {
    let model = Model::start();
    let home = Home::on(&model);
    let (mut tty, _) = Tty::start(home.on_terminal(&[]), is_ready);
    tty.send(&format!("CHAIN {}", CALLS + 1));
    let mut before = model.next();
    let mut samples = Samples::default();
    for call in 0..=CALLS {
        let request = model.next();
        let took = request.at - before.at;
        before = request;
        if call == 0 {
            let took = format!("{:.1} ms", millis(took));
            figure("first tool call (takes the login environment)", &took);
        } else {
            samples.add(took);
        }
    }
    samples.print("tool call `true`: request to next request");
    sleep(Duration::from_millis(300));
}
