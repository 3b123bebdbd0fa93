-- The table of the customers, and that of the lookup by their addresses. Both columns `email` have
-- the same type, so that both compare alike.

CREATE TABLE customer (
  customer_id bigint NOT NULL,
  email varbinary(128) NOT NULL,
  PRIMARY KEY (customer_id),
  UNIQUE KEY (email)
);

CREATE TABLE customer_email (
  email varbinary(128) NOT NULL,
  keyspace_id varbinary(128) NOT NULL,
  PRIMARY KEY (email)
);
