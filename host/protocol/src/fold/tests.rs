//! The fold takes whatever a host elsewhere says: it may be nonsense, it must not be a crash.

use super::*;

fn row(n: u64) -> Row {
    Row { n, turn: TurnId(n), at: i64::MIN, cut: u64::MAX, body: Body::User { text: "x".into() } }
}

#[test]
fn counts_at_the_end_of_all_numbers_stay_there() {
    let mut window = Transcript { earlier: u64::MAX, ..Transcript::default() };
    for n in [u64::MAX, 0, u64::MAX, 7] {
        window.apply(&Event::RowAdded { row: row(n) });
    }
    window.trim(1);
    assert_eq!((window.earlier, window.rows.len()), (u64::MAX, 1));
    window.apply(&Event::Paged { rows: vec![row(1), row(u64::MAX)], earlier: u64::MAX - 1 });
    assert_eq!((window.rows.len(), window.earlier), (2, u64::MAX - 1));
    window.apply(&Event::RowsRemoved { after: u64::MAX });
    window.apply(&Event::RowsRemoved { after: 0 });
    assert_eq!((window.rows.len(), window.earlier), (0, 0));
    window.trim(0);
    assert_eq!(window.earlier, 0);
}
