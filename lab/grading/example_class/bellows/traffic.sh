#!/bin/bash
# the traffic of project 3
for i in 1 2 3; do
  docker-compose exec mids ab -n 2 -H "Host: user$i.comcast.com" http://localhost:5000/purchase_a_sword/sabre
  docker-compose exec mids ab -n 1 -H "Host: user$i.comcast.com" http://localhost:5000/join_guild/grubs
done
