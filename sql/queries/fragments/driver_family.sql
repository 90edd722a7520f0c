workflow COLLATE "C" >= $6::text AND workflow COLLATE "C" < $7::text
