//! Tests of what is hidden and what is not.

use proptest::prelude::*;

use super::*;

// Put together here, so that no line of this file looks like a key.
fn join(parts: &[&str]) -> String {
    parts.concat()
}

#[test]
fn keys_are_known_by_their_form() {
    let body = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8";
    let keys = [
        join(&["sk-", body]),
        join(&["sk-proj-", body]),
        join(&["sk-ant-api03-", body]),
        join(&["sk_live_", body]),
        join(&["ghp_", body]),
        join(&["github_pat_", body]),
        join(&["glpat-", body]),
        join(&["xoxb-", "1234567890-abcdef"]),
        join(&["AKIA", "IOSFODNN7EXAMPLE"]),
        join(&["AIza", body]),
        join(&["hf_", body]),
        join(&["eyJ", "hbGciOiJIUzI1NiJ9", ".eyJ", "zdWIiOiIxMjM0In0", ".", body]),
    ];
    for key in keys {
        let text = format!("before {key} after\n\"{key}\"");
        let shown = secrets(&text);
        assert!(!shown.contains(&key[4..key.len() - 4]), "{key} -> {shown}");
        assert!(shown.starts_with("before ") && shown.contains(" after\n\""), "{shown}");
    }
    let key = join(&["sk-a", body, "9f3c"]);
    assert_eq!(secrets(&key), "sk-a…9f3c");
}

#[test]
fn values_are_hidden_where_the_name_says_secret_and_the_value_looks_random() {
    let value = "q7Rt92LmXz04PvKw8Bn3";
    for text in [
        format!("OPENAI_API_KEY={value}"),
        format!("export DB_PASSWORD='{value}'"),
        format!("{{\"api_key\": \"{value}\"}}"),
        format!("{{\\\"accessToken\\\":\\\"{value}\\\"}}"),
        format!("client_secret: {value}"),
        format!("AWS_SECRET_ACCESS_KEY={value}"),
        format!("X-Api-Key: {value}"),
        format!("curl --token {value} x"),
        format!("3|TOKEN={value}"),
        format!("https://x.test/?token={value}&page=2"),
        format!("Authorization: Bearer {value}"),
        format!("authorization: basic {value}=="),
    ] {
        let shown = secrets(&text);
        assert!(!shown.contains("t92LmXz04PvKw8"), "{text} -> {shown}");
        let name = text.split(value).next().unwrap();
        assert!(shown.starts_with(name), "{text} -> {shown}");
    }
    assert_eq!(secrets("postgres://bob:hunter2@db:5432/x"), "postgres://bob:***@db:5432/x");
    let slashed = join(&["wJalrXUtnFEMI", "/K7MDENG/bPxRfiCY", "EXAMPLEKEY"]);
    assert_eq!(
        secrets(&format!("aws_secret_access_key = {slashed}")),
        "aws_secret_access_key = wJal…EKEY"
    );
    assert_eq!(secrets("password=Ab3$"), "password=Ab3$");
}

#[test]
fn ordinary_text_is_left_alone_and_not_copied() {
    for text in [
        "max_tokens: 1234567890123456",
        "api_key = os.environ.get(\"OPENAI_API_KEY\")",
        "const token: AuthenticationTokenProvider = next;",
        "let secret = Secret::from_environment();",
        "token_file=/home/user/.config/app2/v1/token",
        "tokenizer: cl100k_base_2024_extended",
        "password: please_choose_a_password",
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "the task-list sk-1 and https://example.org:8080/a@b",
        "-----BEGIN PUBLIC KEY-----",
        "if line == \"-----BEGIN PRIVATE KEY-----\" { return; }",
        "",
    ] {
        assert!(matches!(secrets(text), Cow::Borrowed(same) if same == text), "{}", secrets(text));
    }
}

#[test]
fn private_keys_go_as_a_whole_also_numbered_quoted_or_cut_off() {
    let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7";
    let begin = join(&["-----BEGIN ", "RSA PRIVATE KEY-----"]);
    let end = join(&["-----END ", "RSA PRIVATE KEY-----"]);
    for (text, rest) in [
        (format!("a\n{begin}\n{line}\n{line}\n{end}\nb"), "a\n[private key redacted]\nb"),
        (format!("1|{begin}\n2|{line}\n3|{end}\n4|b"), "1|[private key redacted]\n4|b"),
        (format!("\"{begin}\\n{line}\\n{end}\\n\""), "\"[private key redacted]\\n\""),
        (format!("{begin}\n{line}\n{line}"), "[private key redacted]"),
    ] {
        assert_eq!(secrets(&text), rest);
    }
}

#[test]
fn hiding_twice_is_hiding_once() {
    let value = "q7Rt92LmXz04PvKw8Bn3";
    let text = format!("TOKEN={value}\nAuthorization: Bearer {value}\nx://u:{value}@h");
    let once = secrets(&text).into_owned();
    assert_eq!(secrets(&once), once);
}

#[test]
fn large_and_hostile_texts_take_no_long_time() {
    let log = "2024-01-01T00:00:00 GET /api/v1/token?x=1 é status=200 key=value\n".repeat(3000);
    let hostile = [
        log,
        "token".repeat(40_000),
        "token_a".repeat(30_000),
        "a".repeat(200_000),
        "-----BEGIN PRIVATE KEY-----AAAA\n".repeat(6_000),
        "://a:".repeat(40_000),
        "eyJaaaaaaaaa.".repeat(15_000),
    ];
    for text in hostile {
        let start = std::time::Instant::now();
        let _ = secrets(&text);
        let _ = plain(&text);
        let took = start.elapsed();
        // Unoptimised and on a busy machine; what it must catch is quadratic work.
        assert!(took.as_secs() < 20, "{took:?} for {}", &text[..30]);
    }
}

#[test]
fn escape_sequences_go_and_the_text_around_them_stays() {
    for (raw, text) in [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "alink"),
        ("\x1b]52;c;ZXZpbA==\u{9c}a", "a"),
        ("\u{9b}31mred\u{9d}0;t\x07x", "redx"),
        ("a\x1bPq#0;2;0;0;0\x1b\\b\x1b_apc\x1b\\c\x1b^pm\x1b\\d\x1bXsos\x1b\\e", "abcde"),
        ("\x1b(B\x1b=\x1b7x\x1bc", "x"),
        ("\x1b[?25l\x1b[2 qx", "x"),
        // A sequence that is never ended takes its line with it at most.
        ("a\x1b]0;open\nb", "a\nb"),
        ("a\x1b[31\nb", "a\nb"),
        ("a\x1b", "a"),
        ("\x1b]0;t\x1b[31mx", "x"),
    ] {
        assert_eq!(plain(raw), text, "{raw:?}");
    }
}

#[test]
fn what_is_overwritten_on_a_screen_is_gone() {
    for (raw, text) in [
        ("10%\r50%\r100%\r\ndone\r\n", "100%\ndone\n"),
        ("long line\rx", "x"),
        ("kept\r", "kept"),
        ("a\r\x1b[Kb", "b"),
        ("one\ntwo\rthree", "one\nthree"),
        ("\r\r\n", "\n"),
        ("N\x08NA\x08A", "NA"),
        ("a\n\x08\x08b", "a\nb"),
    ] {
        assert_eq!(plain(raw), text, "{raw:?}");
    }
}

#[test]
fn other_controls_and_marks_of_direction_go() {
    assert_eq!(plain("a\0b\x07c\x7fd\u{85}e\tf"), "abcde\tf");
    assert_eq!(plain("a\u{202e}b\u{2066}c\u{2069}d\u{200f}e\u{200e}f\u{61c}g"), "abcdefg");
    assert_eq!(plain("naïve 日本 👩‍👩‍👧"), "naïve 日本 👩‍👩‍👧");
}

proptest! {
    #[test]
    fn nothing_that_a_terminal_obeys_is_left(text in "(\\PC|[\\x00-\\x1f]|[\u{80}-\u{9f}]|\u{202e}){0,64}") {
        let shown = plain(&text);
        prop_assert!(shown.chars().all(|c| c == '\n' || !hidden(c)), "{shown:?}");
        prop_assert_eq!(plain(&shown), shown);
    }

    #[test]
    fn plain_text_stays_as_it_is(text in "[a-zA-Zé \n\t]{0,64}") {
        prop_assert_eq!(plain(&text), text);
    }
}
