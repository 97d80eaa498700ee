//! The compiler seen from outside: files in, a topology or problems out.

#[cfg(test)]
mod cases;
