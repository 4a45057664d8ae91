//! The text form of a demo script: a header, then one section of steps per request of a turn.
//! Not the steps themselves ([`super::script`]), not the choice of a script ([`super::demo`]).
//!
//! ```text
//! help: what it shows
//! args: N=5/60 K=1/20        names, defaults and greatest values of the numbers after the word
//! ===
//! text, sent line by line, with $N for the number
//! @reasoning text            @delay SECONDS            @stream COUNT RATE (of the text below)
//! @call TOOL {json}          @calls COUNT TOOL {json}  @json "text with \u001b escapes"
//! @error CLASS message       @retry SECONDS CLASS message
//! @cut                       @long KB (of the text below)
//! ===
//! the answer to the results; the last section answers all further requests
//! ```

use std::time::Duration;

use serde_json::Value;

use super::script::Step;
use super::{Class, Error};

/// A script file, split but not yet played.
#[derive(Debug, Default)]
pub(super) struct Asset {
    /// Its line in the list of words.
    pub(super) help: &'static str,
    args: Vec<Arg>,
    sections: Vec<&'static str>,
}

/// A number that may follow the word.
#[derive(Debug)]
struct Arg {
    name: &'static str,
    default: f64,
    most: f64,
}

/// Values that stand for `$name` in a section.
pub(super) type Values = Vec<(&'static str, String)>;

impl Asset {
    /// Splits a script file. What it does not understand it leaves out; a test reads all files.
    pub(super) fn parse(file: &'static str) -> Self {
        let mut parts = file.split("===\n");
        let mut asset = Self::default();
        for line in parts.next().unwrap_or_default().lines() {
            match line.split_once(": ") {
                Some(("help", text)) => asset.help = text,
                Some(("args", text)) => {
                    asset.args = text.split_whitespace().filter_map(arg).collect();
                }
                Some(_) | None => {}
            }
        }
        asset.sections = parts.collect();
        asset
    }

    /// What the words after the script's own say: its numbers, in order; other words are noise.
    pub(super) fn values(&self, words: &[&str]) -> Values {
        let mut numbers = words.iter().filter_map(|w| w.parse::<f64>().ok());
        self.args
            .iter()
            .map(|arg| {
                let value = numbers.next().filter(|n| n.is_finite()).unwrap_or(arg.default);
                (arg.name, value.clamp(0.0, arg.most).to_string())
            })
            .collect()
    }

    /// The steps of the answer to the `round`th request of a turn, from 0.
    pub(super) fn steps(&self, round: usize, values: &Values) -> Result<Vec<Step>, String> {
        let section = self.sections.get(round).or_else(|| self.sections.last());
        let mut steps = Vec::new();
        let mut lines = section.copied().unwrap_or_default().lines();
        while let Some(line) = lines.next() {
            let line = fill(line, values);
            let Some(directive) = line.strip_prefix('@') else {
                steps.push(Step::Text(format!("{line}\n")));
                continue;
            };
            let (name, rest) = directive.split_once(' ').unwrap_or((directive, ""));
            match name {
                "reasoning" => steps.push(Step::Reasoning(format!("{rest}\n"))),
                "delay" => steps.push(Step::Delay(seconds(rest)?)),
                "json" => steps.push(Step::Text(json(rest)?)),
                "call" => steps.push(call(rest)?),
                "calls" => {
                    let (count, rest) = rest.split_once(' ').ok_or("@calls COUNT TOOL JSON")?;
                    let step = call(rest)?;
                    steps.extend(std::iter::repeat_n(step, number(count)? as usize));
                }
                "stream" => {
                    let (count, rate) = rest.split_once(' ').ok_or("@stream COUNT RATE")?;
                    let (count, rate) = (number(count)?, number(rate)?);
                    steps.push(Step::Stream { text: remainder(&mut lines, values), count, rate });
                }
                "long" => {
                    let size = number(rest)? as usize * 1024;
                    let text = remainder(&mut lines, values);
                    let mut long = text.repeat(size.div_ceil(text.len().max(1)));
                    long.truncate(long.floor_char_boundary(size));
                    steps.push(Step::Text(long));
                }
                "error" => steps.push(Step::Fail(error(rest)?)),
                "retry" => {
                    let (pause, rest) = rest.split_once(' ').ok_or("@retry SECONDS CLASS TEXT")?;
                    steps.push(Step::Retrying { after: seconds(pause)?, error: error(rest)? });
                }
                "cut" => steps.push(Step::Cut),
                other => return Err(format!("unknown directive @{other}")),
            }
        }
        trim_end(&mut steps);
        Ok(steps)
    }
}

/// An answer does not end with a line break.
fn trim_end(steps: &mut [Step]) {
    if let Some(Step::Text(text)) = steps.iter_mut().rfind(|s| matches!(s, Step::Text(_))) {
        text.truncate(text.trim_end_matches('\n').len());
    }
}

fn arg(text: &'static str) -> Option<Arg> {
    let (name, rest) = text.split_once('=')?;
    let (default, most) = rest.split_once('/')?;
    Some(Arg { name, default: default.parse().ok()?, most: most.parse().ok()? })
}

fn fill(line: &str, values: &Values) -> String {
    if !line.contains('$') {
        return line.to_owned();
    }
    values
        .iter()
        .fold(line.to_owned(), |line, (name, value)| line.replace(&format!("${name}"), value))
}

fn remainder(lines: &mut std::str::Lines<'_>, values: &Values) -> String {
    lines.fold(String::new(), |text, line| text + &fill(line, values) + "\n")
}

fn number(text: &str) -> Result<u64, String> {
    text.parse::<f64>().map(|n| n as u64).map_err(|_| format!("not a number: {text}"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|n| Duration::try_from_secs_f64(n).ok())
        .ok_or_else(|| format!("not a number of seconds: {text}"))
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|e| format!("{e} in {text}"))
}

fn call(text: &str) -> Result<Step, String> {
    let (name, args) = text.split_once(' ').ok_or("@call TOOL JSON")?;
    Ok(Step::Call { name: name.to_owned(), args: json::<Value>(args)? })
}

fn error(text: &str) -> Result<Error, String> {
    let (name, message) = text.split_once(' ').ok_or("CLASS and a message")?;
    let class = Class::ALL.into_iter().find(|c| c.as_str() == name);
    let class = class.ok_or_else(|| format!("unknown class {name}"))?;
    Ok(Error { class, message: message.to_owned(), retry_after: None })
}
