pragma application_id = 1112493123;
BEGIN TRANSACTION;
CREATE TABLE campaign (
	id INTEGER NOT NULL, 
	uid TEXT NOT NULL, 
	name TEXT NOT NULL, 
	settings TEXT NOT NULL, 
	created_us BIGINT NOT NULL, 
	next_number INTEGER NOT NULL, 
	next_seq INTEGER NOT NULL, 
	memory TEXT, 
	digest TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (uid), 
	UNIQUE (name)
);
INSERT INTO "campaign" VALUES(1,'10b1985bfe89af988e58fe6f','campaign','{"deterministic":false,"note":"kept since version 1","review":false,"seed":7,"strategy":"sobol"}',1796096616906000,5,11,NULL,'34fb0d2746c4f950');
CREATE TABLE event (
	campaign_id INTEGER NOT NULL, 
	seq INTEGER NOT NULL, 
	at_us BIGINT NOT NULL, 
	actor TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	trial INTEGER, 
	payload TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	PRIMARY KEY (campaign_id, seq), 
	FOREIGN KEY(campaign_id) REFERENCES campaign (id)
);
INSERT INTO "event" VALUES(1,0,1796096616982000,'root','create',NULL,'{"budget":{"trials":20},"goals":["maximize yield","cost <= 5"],"settings":{"deterministic":false,"note":"kept since version 1","review":false,"seed":7,"strategy":"sobol"},"space":"{\"constraints\":[],\"format\":\"bolearn.space\",\"parameters\":[{\"high\":90.0,\"kind\":\"real\",\"log\":false,\"low\":20.0,\"name\":\"temperature\",\"step\":0.5,\"unit\":\"°C\"},{\"kind\":\"categorical\",\"name\":\"solvent\",\"ordered\":false,\"values\":[\"MeOH\",\"THF\"]}],\"version\":1}"}','cbccffb9c3fa5c8a');
INSERT INTO "event" VALUES(1,1,1796096617027000,'anna','add',0,'{"baseline":true,"outcomes":{"cost":3.0,"yield":{"mean":41.0,"sem":0.5}},"parameters":{"solvent":"THF","temperature":60.0}}','e211482a69418495');
INSERT INTO "event" VALUES(1,2,1796096617116000,'anna','ask',1,'{"fixed":{},"parameters":{"solvent":"MeOH","temperature":45.5},"same":[],"seen":2}','c8dc271e51e85643');
INSERT INTO "event" VALUES(1,3,1796096617116000,'anna','ask',2,'{"fixed":{},"parameters":{"solvent":"THF","temperature":67.5},"same":[],"seen":2}','9975fd4ab5098de5');
INSERT INTO "event" VALUES(1,4,1796096617116000,'anna','ask',3,'{"fixed":{},"parameters":{"solvent":"MeOH","temperature":86.0},"same":[],"seen":2}','6886c04e9da01ecd');
INSERT INTO "event" VALUES(1,5,1796096617116000,'anna','ask',4,'{"fixed":{},"parameters":{"solvent":"THF","temperature":28.0},"same":[],"seen":2}','5ffc7159e6082003');
INSERT INTO "event" VALUES(1,6,1796096617155000,'robot','tell',1,'{"outcomes":{"cost":3.1,"yield":[62.0,64.5]},"parameters":{"solvent":"MeOH","temperature":71.3},"spent":2.5,"token":"t1"}','720937249f4dc64b');
INSERT INTO "event" VALUES(1,7,1796096617199000,'ben','correct',1,'{"before":{"cost":3.1},"note":"invoice corrected","outcomes":{"cost":3.3}}','a48ac79996c6a266');
INSERT INTO "event" VALUES(1,8,1796096617222000,'ben','fail',2,'{"reason":"spilled"}','0c01d32cd3905298');
INSERT INTO "event" VALUES(1,9,1796096617246000,'ben','abandon',3,'{"reason":"no time"}','794deee236a4b6dd');
INSERT INTO "event" VALUES(1,10,1796096617271000,'robot','report',4,'{"outcomes":{"yield":10.0},"step":1.0,"stop":false}','6d0ebdc0aaa89926');
CREATE TABLE meta (
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('schema','1');
INSERT INTO "meta" VALUES('min_reader','1');
INSERT INTO "meta" VALUES('written_by','0.1.0');
CREATE TABLE revision (
	campaign_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	body TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	PRIMARY KEY (campaign_id, number), 
	FOREIGN KEY(campaign_id) REFERENCES campaign (id)
);
INSERT INTO "revision" VALUES(1,0,'{"fill":{},"goals":["maximize yield","cost <= 5"],"outcomes":[],"rename":{},"settings":{"budget":{"trials":20}},"space":"{\"constraints\":[],\"format\":\"bolearn.space\",\"parameters\":[{\"high\":90.0,\"kind\":\"real\",\"log\":false,\"low\":20.0,\"name\":\"temperature\",\"step\":0.5,\"unit\":\"°C\"},{\"kind\":\"categorical\",\"name\":\"solvent\",\"ordered\":false,\"values\":[\"MeOH\",\"THF\"]}],\"version\":1}"}','2bb217fc05595d48');
CREATE TABLE token (
	campaign_id INTEGER NOT NULL, 
	token TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	digest TEXT NOT NULL, 
	PRIMARY KEY (campaign_id, token), 
	FOREIGN KEY(campaign_id) REFERENCES campaign (id)
);
INSERT INTO "token" VALUES(1,'t1',1,'dec67afecfe24cb4');
CREATE TABLE trial (
	campaign_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	revision INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	changed_seq INTEGER NOT NULL, 
	owner TEXT, 
	lease_us BIGINT, 
	body TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	PRIMARY KEY (campaign_id, number), 
	CONSTRAINT trial_state CHECK (state in ('candidate', 'queued', 'running', 'completed', 'stopped', 'failed', 'abandoned')), 
	FOREIGN KEY(campaign_id) REFERENCES campaign (id)
);
INSERT INTO "trial" VALUES(1,0,0,'completed',1,NULL,NULL,'{"asked":{"solvent":"THF","temperature":60.0},"asked_us":1796096617027000,"baseline":true,"ended_us":1796096617027000,"label":"page 3","origin":"data","outcomes":{"cost":3.0,"yield":{"mean":41.0,"sem":0.5}}}','48207cba0f383667');
INSERT INTO "trial" VALUES(1,1,0,'completed',7,'anna',NULL,'{"asked":{"solvent":"MeOH","temperature":45.5},"asked_us":1796096617116000,"batch":0,"ended_us":1796096617155000,"note":"invoice corrected","origin":"design","outcomes":{"cost":3.3,"yield":[62.0,64.5]},"proposal":{"distance":1.4293033839130536,"nearest":0,"rule":"Sobol design (sobol)","seed":3442083787799663},"spent":2.5,"used":{"solvent":"MeOH","temperature":71.3}}','d0eeb2f44f3e1556');
INSERT INTO "trial" VALUES(1,2,0,'failed',8,'anna',NULL,'{"asked":{"solvent":"THF","temperature":67.5},"asked_us":1796096617116000,"batch":0,"ended_us":1796096617222000,"origin":"design","proposal":{"distance":0.1071428571428572,"nearest":0,"rule":"Sobol design (sobol)","seed":620935132599041},"reason":"spilled"}','67db77bf894551be');
INSERT INTO "trial" VALUES(1,3,0,'abandoned',9,'anna',NULL,'{"asked":{"solvent":"MeOH","temperature":86.0},"asked_us":1796096617116000,"batch":0,"ended_us":1796096617246000,"origin":"design","proposal":{"distance":1.4621761807913127,"nearest":0,"rule":"Sobol design (sobol)","seed":6209630060061161},"reason":"no time"}','9b90e43bb2a0089a');
INSERT INTO "trial" VALUES(1,4,0,'running',10,'anna',NULL,'{"asked":{"solvent":"THF","temperature":28.0},"asked_us":1796096617116000,"batch":0,"origin":"design","proposal":{"distance":0.45714285714285713,"nearest":0,"rule":"Sobol design (sobol)","seed":5973531464300838},"reports":[[1.0,{"yield":10.0}]]}','19eb803cbfe430e4');
CREATE INDEX trial_by_change ON trial (campaign_id, changed_seq);
COMMIT;
