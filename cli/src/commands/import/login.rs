//! The account as which servers are looked at. Its password comes from the environment or a file, never
//! from an argument, which other users of the machine could read.

use std::path::PathBuf;

use clap::Args;
use vtplan_agent::plain::Login;

use crate::error::CliError;

/// Where the password is looked for, if nothing else is said.
const PASSWORD: &str = "VTPLAN_IMPORT_PASSWORD";

#[derive(Args, Debug)]
pub struct LoginArgs {
    /// Account to connect as; its password is read from VTPLAN_IMPORT_PASSWORD
    #[arg(long, value_name = "NAME", default_value = "root")]
    pub user: String,
    /// Read the password from this environment variable
    #[arg(long, value_name = "VARIABLE")]
    pub password_env: Option<String>,
    /// Read the password from this file; its trailing newline does not belong to it
    #[arg(long, value_name = "FILE", conflicts_with = "password_env")]
    pub password_file: Option<PathBuf>,
}

impl LoginArgs {
    pub fn login(&self) -> Result<Login, CliError> {
        Ok(Login {
            user: self.user.clone(),
            password: self.password()?,
        })
    }

    fn password(&self) -> Result<String, CliError> {
        if let Some(path) = &self.password_file {
            let text = std::fs::read_to_string(path).map_err(|e| {
                let message = format!("cannot read the password from `{}`", path.display());
                CliError::new("no-password", message).because(&e)
            })?;
            let password = text.strip_suffix('\n').unwrap_or(&text);
            return Ok(password.strip_suffix('\r').unwrap_or(password).to_owned());
        }
        match (&self.password_env, std::env::var(PASSWORD)) {
            (Some(name), _) => std::env::var(name).map_err(|_| {
                let message = format!("the environment variable `{name}` is not set");
                CliError::new("no-password", message)
            }),
            (None, Ok(password)) => Ok(password),
            (None, Err(_)) => Err(CliError::new(
                "no-password",
                format!("the password of `{}` is not given", self.user),
            )
            .help(format!(
                "set {PASSWORD}, or name a variable with `--password-env` or a file with `--password-file`"
            ))),
        }
    }
}
