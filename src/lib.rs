pub mod command;
pub mod error;
pub mod event;
pub mod formation;
pub mod ssh;
pub mod state;
pub mod step;
