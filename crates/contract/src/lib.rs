//! Names and formats that the parts of Firstlight share.
