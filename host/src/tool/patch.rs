//! placeholder
pub(crate) fn schema() -> crate::model::Schema {
    todo!()
}
