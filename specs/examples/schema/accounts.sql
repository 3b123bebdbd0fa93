-- Tables of the sharded keyspace `accounts` of accounts.yaml.

CREATE TABLE account (
  account_id bigint NOT NULL,
  email varbinary(128),
  PRIMARY KEY (account_id)
);
