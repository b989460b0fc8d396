-- The state database of schema 1, as the version that had it left it: one VM in each state, three operations open.
BEGIN TRANSACTION;
CREATE TABLE vms (
        id         TEXT PRIMARY KEY,
        name       TEXT NOT NULL UNIQUE,
        target     TEXT NOT NULL,
        spec       TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        boots      INTEGER NOT NULL DEFAULT 0,
        rm         INTEGER NOT NULL,
        boot       TEXT,
        last_end   TEXT
    ) STRICT;
INSERT INTO "vms" VALUES('4xnddzqvhj88','rests','stopped','{"vcpu":1,"memory":134217728,"disk":8589934592,"image":"debian-bookworm","image_digest":"sha256:0707070707070707070707070707070707070707070707070707070707070707","kernel":"debian","kernel_digest":"sha256:0707070707070707070707070707070707070707070707070707070707070707","vmm":"auto","net":"user"}',1795599976420,0,0,NULL,NULL);
INSERT INTO "vms" VALUES('yykr4eymdfbk','runs','running','{"vcpu":1,"memory":134217728,"disk":8589934592,"image":"debian-bookworm","image_digest":"sha256:0707070707070707070707070707070707070707070707070707070707070707","kernel":"debian","kernel_digest":"sha256:0707070707070707070707070707070707070707070707070707070707070707","vmm":"auto","net":"user"}',1795599976434,1,0,'{"vmm":"qemu","accel":"tcg","reason":"a test","started_ms":1,"kernel_release":"6.1","boot_id":"b","warnings":[]}',NULL);
INSERT INTO "vms" VALUES('g735k1w5nz54','starting','running','{"vcpu":1,"memory":134217728,"disk":8589934592,"image":"debian-bookworm","image_digest":"sha256:0707070707070707070707070707070707070707070707070707070707070707","kernel":"debian","kernel_digest":"sha256:0707070707070707070707070707070707070707070707070707070707070707","vmm":"auto","net":"user"}',1795599976447,1,0,'{"vmm":"qemu","accel":"tcg","reason":"a test","started_ms":1,"kernel_release":"6.1","boot_id":"b","warnings":[]}',NULL);
INSERT INTO "vms" VALUES('31dkfrjazg1m','stopping','stopped','{"vcpu":1,"memory":134217728,"disk":8589934592,"image":"debian-bookworm","image_digest":"sha256:0707070707070707070707070707070707070707070707070707070707070707","kernel":"debian","kernel_digest":"sha256:0707070707070707070707070707070707070707070707070707070707070707","vmm":"auto","net":"user"}',1795599976449,1,0,NULL,'{"at_ms":5,"boot":1,"reason":{"why":"powered-off"}}');
INSERT INTO "vms" VALUES('3hnrdqekds64','going','absent','{"vcpu":1,"memory":134217728,"disk":8589934592,"image":"debian-bookworm","image_digest":"sha256:0707070707070707070707070707070707070707070707070707070707070707","kernel":"debian","kernel_digest":"sha256:0707070707070707070707070707070707070707070707070707070707070707","vmm":"auto","net":"user"}',1795599976452,0,0,NULL,NULL);
CREATE TABLE operations (
        vm         TEXT PRIMARY KEY REFERENCES vms (id) ON DELETE CASCADE,
        op         TEXT NOT NULL UNIQUE,
        verb       TEXT NOT NULL,
        direction  TEXT NOT NULL,
        begun_ms   INTEGER NOT NULL
    ) STRICT;
INSERT INTO "operations" VALUES('g735k1w5nz54','op-apem10ed6k0jk7qg','restart','forward',1795599976509);
INSERT INTO "operations" VALUES('31dkfrjazg1m','op-0kzw47vncqh6tjk5','stop','forward',1795599976509);
INSERT INTO "operations" VALUES('3hnrdqekds64','op-pga84dwwb4g83y2k','delete','forward',1795599976513);
COMMIT;
PRAGMA user_version = 1;
