//! evcxr's store of the variables that live from one cell to the next, compiled once.
//!
//! evcxr puts a module `evcxr_internal_runtime` into each cell, most of whose machine code is that of a hash map: a third of what the compiler does for a short
//! cell. The kernel lets the cell use this module in its place, whose methods do the same with the same words; only what depends on the variable's type is
//! compiled with the cell. The map is laid out as evcxr's, since cells of both kinds may use one: those that cargo compiles have evcxr's own.
//!
//! Names and contracts are those of evcxr 0.22, `evcxr_internal_runtime.rs`.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use crate::print;

/// What evcxr looks for to learn that a variable has a new type.
pub const VARIABLE_CHANGED_TYPE: &str = "EVCXR_VARIABLE_CHANGED_TYPE:";
/// What evcxr looks for to learn that `?` ended a cell.
pub const USER_ERROR_OCCURRED: &str = "EVCXR_ERROR_OCCURRED";

/// Values by the names of their variables.
#[derive(Default)]
pub struct VariableStore {
    variables: HashMap<String, Box<dyn Any + 'static>>,
}

impl VariableStore {
    /// An empty one.
    pub fn new() -> VariableStore {
        VariableStore::default()
    }

    /// Keeps a variable's value.
    pub fn put_variable<T: 'static>(&mut self, name: &str, value: T) {
        self.put(name, Box::new(value));
    }

    /// Whether the variable has this type or is not there. Says it, and so does evcxr, when it has another one.
    pub fn check_variable<T: 'static>(&mut self, name: &str) -> bool {
        self.check(name, TypeId::of::<T>())
    }

    /// Takes a variable's value out.
    ///
    /// # Panics
    /// When there is none, or it has another type.
    pub fn take_variable<T: 'static>(&mut self, name: &str) -> T {
        match self.take(name).downcast() {
            Ok(value) => *value,
            Err(_) => panic!("Variable changed type"),
        }
    }

    /// The value of this name, made when there is none.
    ///
    /// # Panics
    /// When it has another type.
    pub fn lazy_arc<T: 'static, F: FnOnce() -> T>(&mut self, name: &str, create: F) -> Arc<T> {
        if !self.variables.contains_key(name) {
            self.put(name, Box::new(Arc::new(create())));
        }
        match self.variables[name].downcast_ref::<Arc<T>>() {
            Some(value) => Arc::clone(value),
            None => panic!("lazy_arc {name} changed type"),
        }
    }

    /// Takes over all that another one has.
    pub fn merge(&mut self, mut other: VariableStore) {
        self.variables.extend(other.variables.drain());
    }

    #[inline(never)]
    fn put(&mut self, name: &str, value: Box<dyn Any>) {
        self.variables.insert(name.to_owned(), value);
    }

    #[inline(never)]
    fn check(&mut self, name: &str, wanted: TypeId) -> bool {
        let found = self.variables.get(name);
        if found.is_none_or(|value| (**value).type_id() == wanted) {
            return true;
        }
        print::stderr(
            format_args!("The type of the variable {name} was redefined, so was lost."),
            "\n",
        );
        print::stdout(format_args!("{VARIABLE_CHANGED_TYPE}{name}"), "\n");
        false
    }

    #[inline(never)]
    fn take(&mut self, name: &str) -> Box<dyn Any> {
        match self.variables.remove(name) {
            Some(value) => value,
            None => panic!("Variable '{name}' has gone missing"),
        }
    }
}

/// A new store, which is its receiver's to free.
#[inline(never)]
pub fn create_variable_store() -> *mut VariableStore {
    Box::into_raw(Box::new(VariableStore::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_taken_once_and_by_its_type() {
        let mut store = VariableStore::new();
        store.put_variable("a", vec![1, 2]);
        store.put_variable("b", "text");
        assert!(store.check_variable::<Vec<i32>>("a"));
        assert!(store.check_variable::<u8>("never put"));
        assert!(!store.check_variable::<String>("b"));
        assert_eq!(store.take_variable::<Vec<i32>>("a"), [1, 2]);
        let said = |work: &mut dyn FnMut()| {
            let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            let panic = panic.expect_err("a panic");
            let owned = panic.downcast_ref::<String>().cloned();
            owned
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .expect("a text")
        };
        assert_eq!(
            said(&mut || drop(store.take_variable::<Vec<i32>>("a"))),
            "Variable 'a' has gone missing"
        );
        assert_eq!(
            said(&mut || drop(store.take_variable::<String>("b"))),
            "Variable changed type"
        );
    }

    #[test]
    fn a_lazy_value_is_made_once_and_stores_are_merged() {
        let mut store = VariableStore::new();
        let first = store.lazy_arc("n", || 1);
        let second = store.lazy_arc("n", || 2);
        assert!(Arc::ptr_eq(&first, &second));
        let mut other = VariableStore::new();
        other.put_variable("m", 3);
        store.merge(other);
        assert_eq!(store.take_variable::<i32>("m"), 3);
    }
}
