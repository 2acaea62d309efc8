#!/usr/bin/perl

# Tailscale Services with two hosts of one service, as upstream's test control
# server and a real tailscaled know them: announced while nginx serves, listened
# for at the service's own addresses alone, changed by reload, drained at the
# end, and handed over to the other host.  With TAILNET_STACK=lwip by that
# stack.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use JSON::PP ();
use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my ($VIP, $VIP6) = ('100.70.1.1', 'fd7a:115c:a1e0::70:1');
my ($SSH, $MOVED) = ('100.70.1.2', '100.70.1.3');
my ($DNS, $DNS6) = ('100.70.1.4', 'fd7a:115c:a1e0::70:4');
my $CHAT = '100.70.1.5';
my %of = ($SSH => 'svc:ssh', $DNS => 'svc:dns', $DNS6 => 'svc:dns',
          $CHAT => 'svc:chat');

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet(testcontrol => 1);
my ($peer, $control, $infra) = @$tailnet{qw(peer control infra)};
my %host = (one => $tailnet->{web}, two => $lab->host('two'));
my (%nginx, %key);
my $routes = '';
my $workers = "worker_processes 2;\n";

# The second nginx is another node besides, which reaches services.

sub configure {
    my ($name, $http, $stream) = @_;

    $nginx{$name}->configure(
        main => $workers
              . $nginx{$name}->tailnet_block($control, $tailnet->{auth_key},
                                             hostname => $name,
                                             extra => "tags tag:web; $routes")
              . ($name eq 'two' ? $nginx{two}->tailnet_block($control,
                    $tailnet->{auth_key}, name => 'away', hostname => 'away')
                 : ''),
        http => <<"HTTP" . ($name eq 'two' ? <<'AWAY' : '') . ($http // ''),
    log_format whom '\$remote_addr \$tailnet_peer \$server_addr:\$server_port';
    access_log logs/whom.log whom;

    server {
        listen 80 tailnet=home;
        listen 8080 tailnet=home;
        location / { return 200 "own $name\\n"; }
    }

    server { listen 127.0.0.1:8000; location / { tailnet_status; } }
HTTP
    upstream web  { server svc:web:80 tailnet=away; keepalive 2; }
    upstream chat { server svc:chat:80 tailnet=away; }
    server {
        listen 127.0.0.1:8001;
        proxy_connect_timeout 3s;
        location /web/  { proxy_pass http://web/; }
        location /chat/ { proxy_pass http://chat/; }
    }
AWAY
        stream => ($stream // '') . ($name eq 'two' ? <<'AWAY' : ''));
    upstream dns { server svc:dns:53 tailnet=away; }
    server { listen 127.0.0.1:53 udp; proxy_pass dns; }
AWAY
}

# Two hosts of one service, by the recipe as it stands in docs/gateway.md; what
# is added is a slow answer, and what is proxied to.

my $DOC = Tailnet::Lab->read_file("$FindBin::Bin/../docs/gateway.md");
my ($RECIPE) = $DOC =~ /^## Services\n.*?^```nginx\n(.*?)^```/ms
    or die 'no recipe in docs/gateway.md';

like($RECIPE, qr/^    tags +tag:web;$/m, 'the recipe has the tag');

my ($SERVICE) = $RECIPE =~ /^http \{\n(.*?)^\}/ms;

$SERVICE =~ s/^(?= +location \/ )/        location \/long { limit_rate 1k; }\n/m
    or die 'no location in the recipe';

for my $name (sort keys %host) {
    $nginx{$name} = $lab->nginx(host => $host{$name}, module => 1);
    $nginx{$name}->write('html/long', 'x' x 10_000);
    configure($name, $SERVICE);
    $nginx{$name}->start;

    $lab->nginx(host => $host{$name}, name => "app-$name",
                http => <<"HTTP")->start;
    server {
        listen 127.0.0.1:8080;
        return 200 "web $name\$http_x_more\n";
    }
HTTP
}

# What control gives a host: the service's addresses, to it and to the peers.

sub give {
    my ($name, @ips) = @_;
    my $k = $key{$name};
    my $node = $control->node($name);

    my %given;

    push @{$given{$of{$_} // 'svc:web'}}, $_ for @ips;

    $control->call(POST => "/cap-map?node=$k",
                   { 'service-host' => [\%given] });
    $control->call(POST => "/node?node=$k", { Tags => ['tag:web'],
        AllowedIPs => [@{$node->{Addresses}},
                       map { $_ . (/:/ ? '/128' : '/32') } @ips] });
}

sub announced {
    my ($name) = @_;
    my $answer = $control->call(POST => "/c2n?node=$key{$name}",
        "GET /vip-services HTTP/1.1\r\nHost: x\r\n\r\n");
    my $said = JSON::PP::decode_json($answer->{Body});

    return ($said->{VIPServices} // [], $said->{ServicesHash});
}

# What the node "away" gets by its upstreams.

sub away {
    my ($name) = @_;
    my $r = $host{two}->get("http://127.0.0.1:8001/$name/", timeout => 5);

    return $r->{status} == 200 ? $r->{body} =~ s/\n\z//r : undef;
}

sub hash_of { return $control->node($_[0])->{Hostinfo}{ServicesHash} // '' }

sub page {
    my ($url, $seconds) = @_;
    my $r = $peer->get($url, timeout => $seconds // 5);

    return $r->{ok} && $r->{status} == 200 ? $r->{body} =~ s/\n\z//r : undef;
}

sub ask {
    my ($ip, $host) = @_;
    my (undef, $text) = ($host // $peer->host)->capture('timeout', 3, 'bash', '-c',
        "exec 3<>/dev/udp/$ip/53; echo q >&3; dd bs=512 count=1 <&3");

    return ($text // '') =~ /^(dns \S+ \S+)$/m ? $1 : undef;
}

sub becomes {
    my ($want, $name, $code) = @_;
    my $got;

    eval { $lab->wait_for(25, $name, sub {
        $got = $code->();
        defined $want ? defined $got && $got eq $want : !defined $got;
    }) };
    is($got, $want, $name) or diag(map { "$_:\n" . $nginx{$_}->error_log }
                                   sort keys %nginx);
}

$control->call(POST => '/dns', [map { { Name => "$_->[0].lab.test",
                                        Value => $_->[1] } }
    ['web', $VIP], ['dns', $DNS], ['chat', $CHAT]]);

for my $name (sort keys %host) {
    $lab->wait_for(20, "$name at control", sub { $control->node($name) });
    $key{$name} = $control->node($name)->{Key};
    $peer->wait_peer($name, 20);
}

subtest 'announced' => sub {
    ok(eval { $lab->wait_for(20, 'the hash', sub { hash_of('one') }) },
       'Hostinfo has a hash');

    my ($services, $hash) = announced('one');

    is_deeply($services, [{ Name => 'svc:web', Ports => ['tcp:80'],
                            Active => JSON::PP::true() }],
              'c2n names the service, its port, and that it is served');
    is($hash, hash_of('one'), 'and the same hash');
    ok($nginx{one}->wait_error_log(20,
           qr/svc:web port 80 waits for an address/),
       'without an address a line says so');
    is(page("http://$VIP/", 2), undef, 'and nothing answers there');
};

subtest 'served at its own addresses' => sub {
    give('one', $VIP, $VIP6);

    becomes('web one', 'IPv4', sub { page("http://$VIP/", 2) });
    becomes('web one', 'IPv6', sub { page("http://[$VIP6]/", 2) });

    my ($own) = grep { !/:/ } @{$peer->peer('one')->{TailscaleIPs}};

    is(page("http://$own/"), 'own one', 'the node\'s own server is another');
    is(page("http://$VIP:8080/", 3), undef,
       'and is not reached at the address of the service');
    like($lab->read_file($nginx{one}->prefix . '/logs/whom.log'),
         qr/^\Q@{[$peer->ip4]}\E peer \Q$VIP\E:80$/m,
         'nginx knows who asks, and for what');
    like(($peer->try_cli('ping', '--icmp', '--c', 1, '--timeout', '5s',
                         $VIP))[1], qr/^pong /m, 'a ping is answered');
};

subtest 'changed by a reload' => sub {
    my $before = hash_of('one');
    my $failed = 0;

    my $more = $SERVICE;

    $more =~ s/( location \/ \{)/$1 proxy_set_header X-More +again;/;
    configure('one', $more, <<'STREAM');
    server {
        listen 22 tailnet=home service=svc:ssh;
        return "stream\n";
    }

    server {
        listen 53 udp tailnet=home service=svc:dns;
        return "dns $remote_addr $server_addr\n";
    }
STREAM
    give('one', $VIP, $VIP6, $SSH, $DNS, $DNS6);
    $nginx{one}->reload;

    eval { $lab->wait_for(20, 'the new pages', sub {
        my $got = page("http://$VIP/", 5);
        $failed++ unless defined $got;
        ($got // '') eq 'web one+again' && hash_of('one') ne $before;
    }) };

    is(page("http://$VIP/"), 'web one+again', 'the new configuration serves');
    is($failed, 0, 'nobody was turned away meanwhile');
    is_deeply([map { "$_->{Name} @{$_->{Ports}} $_->{Active}" }
                   @{(announced('one'))[0]}],
              ['svc:dns udp:53 1', 'svc:ssh tcp:22 1', 'svc:web tcp:80 1'],
              'and is announced');

    becomes('stream', 'a service of stream', sub {
        my (undef, $text) = $peer->host->capture('timeout', 3, 'bash', '-c',
            "cat < /dev/tcp/$SSH/22");
        ($text // '') =~ /^(stream)$/m ? $1 : undef;
    });

    becomes("dns @{[$peer->ip4]} $DNS", 'one of UDP', sub { ask($DNS) });
    becomes($DNS6, 'by IPv6', sub { (ask($DNS6) // '') =~ / (\S+)$/ ? $1
                                                                  : undef });
    is(ask($SSH), undef, 'at no address of another');
};

subtest 'a new core' => sub {
    my ($core) = $host{one}->processes('tailnet-core');

    kill KILL => $core;
    becomes('web one+again', 'serves', sub { page("http://$VIP/", 2) });
    becomes("dns @{[$peer->ip4]} $DNS", 'that of UDP, too', sub { ask($DNS) });
    ok(eval { $lab->wait_for(20, 'the hash', sub {
        hash_of('one') eq (announced('one'))[1] && hash_of('one') }) },
       'and announces the same');
};

subtest 'as an upstream' => sub {
    becomes('web one+again', 'one that another nginx serves',
            sub { away('web') });
    becomes($DNS, 'of UDP', sub {
        (ask('127.0.0.1', $host{two}) // '') =~ / (\S+)$/ ? $1 : undef });

    # a real tailscaled as host: no service without a tag

    $key{peer} = $control->node('peer')->{Key};
    give('peer', $CHAT);
    $lab->wait_for(20, 'the tag at the peer', sub {
        @{$peer->status->{Self}{Tags} // []} });

    my ($status, $said) = $peer->try_cli('serve', '--service=svc:chat',
                                         '--http=80', '80');
    is($status, 0, 'tailscaled hosts one') or diag($said);
    becomes('Hello', 'and is reached', sub {
        (away('chat') // '') =~ /^(Hello)/ ? $1 : undef });
};

subtest 'another address' => sub {
    give('one', $MOVED, $VIP6, $SSH, $DNS);

    becomes('web one+again', 'the new one', sub { page("http://$MOVED/", 2) });
    is(page("http://$VIP/", 2), undef, 'no more the old one');
    give('one', $VIP, $VIP6, $SSH, $DNS);
    becomes('web one+again', 'and back', sub { page("http://$VIP/", 2) });
};

# What could not be opened is tried again without anybody's doing.

subtest 'a core without descriptors' => sub {
    my ($core) = $host{one}->processes('tailnet-core');

    my $status = $lab->read_file("/proc/$core/status");
    my ($uid) = $status =~ /^Uid:\s+(\d+)/m;
    my ($gid) = $status =~ /^Gid:\s+(\d+)/m;
    my ($had) = $lab->read_file("/proc/$core/limits")
        =~ /^Max open files +(\d+)/m;

    # root of a container may not do this to another user's

    my $limit = sub {
        return system('setpriv', "--reuid=$uid", "--regid=$gid",
                      '--clear-groups', 'prlimit', "--pid=$core",
                      "--nofile=$_[0]:");
    };

    my $gone = sub { scalar(() = $nginx{one}->errors(
        qr/svc:dns port 53 waits for an address/)) };
    my $before = $gone->();

    give('one', $VIP, $VIP6, $SSH);
    ok(eval { $lab->wait_for(20, 'its end', sub { $gone->() > $before }) },
       'that of UDP is gone');

    is($limit->(0), 0, 'no more of them');
    give('one', $VIP, $VIP6, $SSH, $DNS);
    ok(eval { $nginx{one}->wait_error_log(20,
           qr/svc:dns: no listener on .*24:/) }, 'says so');
    sleep 1;
    is($limit->($had), 0, 'some again');
    becomes("dns @{[$peer->ip4]} $DNS", 'serves', sub { ask($DNS) });
};

subtest 'drained' => sub {
    my $before = hash_of('one');
    my $out = $lab->path('long');
    my $get = $peer->host->start('long',
        ['curl', '-sS', '-m', 120, '-N', '-o', $out, "http://$VIP/long"]);

    $lab->wait_for(10, 'a long answer', sub { -s $out });
    kill QUIT => $nginx{one}->pid;

    # who was answered while control did not know is served

    my $turned = 0;

    ok(eval { $lab->wait_for(20, 'the withdrawal', sub {
        my $page = page("http://$VIP/", 5);
        my $known = hash_of('one') ne $before;

        $turned++ unless $known || defined $page;
        return $known }) }, 'control hears of it')
        or diag($nginx{one}->error_log);
    cmp_ok(-s $out, '<', 10_000, 'before the last connection has ended');
    is($turned, 0, 'who comes before is served')
        or diag($nginx{one}->error_log);
    ok(eval { $lab->wait_for(30, 'the long answer', sub {
        -s $out == 10_000 }) }, 'a connection that stood is served to its end')
        or diag(-s $out);
    ok(eval { $lab->wait_for(30, 'the end of nginx', sub {
        !$nginx{one}->alive }) }, 'nginx ends');
    is(hash_of('one'), '', 'nothing is announced any more');
    $get->stop;

    # control sends the clients to the other host

    give('one');
    give('two', $VIP, $VIP6);
    becomes('web two', 'the other host takes over', sub {
        page("http://[$VIP6]/", 2) });
    becomes('web two', 'for an upstream, too', sub { away('web') });
};

# Beside services: a route that control has not approved is one by which nobody
# comes, even when the peers were told of it.

subtest 'a route that is not approved' => sub {
    my $net = '192.168.77';
    my $route = "$net.0/24";
    my $inside = $lab->host('inside');
    my $node = $control->node('two');

    $inside->ip('addr', 'add', "$net.2/24", 'dev', 'eth0');
    $host{two}->ip('addr', 'add', "$net.1/24", 'dev', 'eth0');

    my $site = $lab->nginx(host => $inside,
                           http => 'server { listen 80; return 200 "far\n"; }');
    $site->start;
    $peer->cli('set', '--accept-routes');

    $routes = "advertise_routes $route;";
    configure('two', '', <<'STREAM');
    server { listen any tailnet=home capture; proxy_pass $tailnet_destination; }
STREAM
    $nginx{two}->reload;

    ok(eval { $lab->wait_for(20, 'the route', sub {
        my $info = $control->node('two')->{Hostinfo};
        "@{$info->{RoutableIPs} // []}" eq $route }) }, 'is announced');
    $control->call(POST => "/node?node=$key{two}",
                   { AllowedIPs => [@{$node->{Addresses}}, $route] });
    $lab->wait_for(20, 'the route at the peer', sub {
        grep { $_ eq $route } @{$peer->peer('two')->{AllowedIPs} // []} });

    is(page("http://$net.2/", 3), undef, 'and leads nowhere');
    ok($nginx{two}->wait_error_log(30,
                                   qr/has approved 1 of 1 routes: \Q$route/),
       'as one line says');

    $control->call(POST => "/routes?node=$key{two}", [$route]);
    becomes('far', 'until control approves it', sub {
        page("http://$net.2/", 3) });

    $control->call(POST => "/routes?node=$key{two}", []);
    becomes(undef, 'and when it takes that back', sub {
        page("http://$net.2/", 3) });
};

# A worker without a descriptor at a reload is deaf to its master from then on:
# not before connections that were held have gone.

sub room {
    $lab->wait_for(20, 'descriptors', sub {
        !grep { (() = glob "/proc/$_/fd/*") > 56 } $nginx{two}->workers });
}

# nginx stops accepting for a while when there are no descriptors; a listener
# that ends meanwhile is none of those it needs for going on.

subtest 'no descriptors' => sub {
    $routes = '';
    $workers = "worker_processes 1;\nworker_rlimit_nofile 64;\n";
    configure('two', "client_header_timeout 5s;\n$SERVICE");
    $nginx{two}->reload;
    give('two', $VIP);
    becomes('web two', 'served', sub { page("http://$VIP/", 2) });

    my $hold = $peer->host->start('hold', ['perl', '-MIO::Socket::IP', '-e',
        '@s = map { IO::Socket::IP->new(PeerHost => $ARGV[0], PeerPort => 80,
                                        Timeout => 1) } 1 .. 100; sleep 100',
        $VIP]);

    ok($nginx{two}->wait_error_log(20, qr/accept4?\(\) failed \(24/),
       'more connections than it can have');
    give('two');
    sleep 2;
    $hold->stop;

    ok(eval { $lab->wait_for(10, 'a page', sub {
        $host{two}->get('http://127.0.0.1:8000/', timeout => 2)->{ok} }) },
       'other listeners go on') or diag($nginx{two}->error_log);
    room();
};

# With an accept mutex nginx has no timer to go on by: a listener that nginx
# does not know must not try without end.

subtest 'no descriptors, by accept_mutex' => sub {
    $workers = "worker_processes 2;\nworker_rlimit_nofile 64;\n"
        . "events { worker_connections 1024; accept_mutex on; }\n";
    configure('two', "client_header_timeout 5s;\n$SERVICE");
    $nginx{two}->reload;
    give('two', $VIP);
    becomes('web two', 'served', sub { page("http://$VIP/", 2) });

    my $lack = qr/accept4?\(\) failed \(24/;
    my $before = $nginx{two}->errors($lack);
    my $hold = $peer->host->start('hold2', ['perl', '-MIO::Socket::IP', '-e',
        '@s = map { IO::Socket::IP->new(PeerHost => $ARGV[0], PeerPort => 80,
                                        Timeout => 1) } 1 .. 200; sleep 100',
        $VIP]);

    ok(eval { $lab->wait_for(20, 'the lack', sub {
        $nginx{two}->errors($lack) > $before }) },
       'more connections than they can have');
    sleep 1;
    $before = $nginx{two}->errors($lack);
    sleep 3;
    cmp_ok($nginx{two}->errors($lack) - $before, '<', 100,
           'which is not tried without end');
    $hold->stop;

    becomes('web two', 'served again', sub { page("http://$VIP/", 2) });
    ok(eval { $lab->wait_for(10, 'a page', sub {
        $host{two}->get('http://127.0.0.1:8000/', timeout => 2)->{ok} }) },
       'and other listeners go on') or diag($nginx{two}->error_log);
    give('two');
    room();
};

# A socket that comes while all connections of the worker are in use, by
# requests of which there is a part, as nginx ends others for new ones.

subtest 'no connections' => sub {
    $workers = "worker_processes 1;\nevents { worker_connections 64; }\n";
    configure('two', $SERVICE);
    $nginx{two}->reload;
    becomes(undef, 'not served', sub { page("http://$VIP/", 1) });

    my $served = qr/svc:web is served at \Q$VIP\E/;
    my $before = $nginx{two}->errors($served);
    my $hold = $host{two}->start('hold3', ['perl', '-MIO::Socket::IP', '-e',
        '$SIG{PIPE} = "IGNORE";
         for (1 .. 800) {
             select undef, undef, undef, 0.02 if $_ > 80;
             push @s, IO::Socket::IP->new(PeerHost => "127.0.0.1",
                                          PeerPort => 8000) // next;
             syswrite $s[-1], "GET / HTTP/1.1\r\nHost: x\r\n";
         }
         sleep 100']);

    ok($nginx{two}->wait_error_log(20,
                                   qr/connections are not enough(?!, reusing)/),
       'all are in use');
    give('two', $VIP);
    ok(eval { $lab->wait_for(20, 'the address', sub {
        $nginx{two}->errors($served) > $before }) }, 'the socket comes');
    sleep 1;
    is(page("http://$VIP/", 1), undef, 'and cannot be served');
    $hold->stop;
    becomes('web two', 'until there are some', sub { page("http://$VIP/", 2) });
};

# A worker that is to quit waits for the core, and no longer than it may.

subtest 'worker_shutdown_timeout' => sub {
    my %before = map { $_ => 1 } $nginx{two}->workers;

    $workers = "worker_processes 1;\nworker_shutdown_timeout 1s;\n";
    configure('two', $SERVICE);
    $nginx{two}->reload;
    becomes('web two', 'served', sub { page("http://$VIP/", 2) });

    my @worker = grep { !$before{$_} } $nginx{two}->workers;
    my ($core) = $host{two}->processes('tailnet-core');

    kill STOP => $core;
    kill HUP => $nginx{two}->pid;

    is(scalar(@worker), 1, 'one worker');
    ok(eval { $lab->wait_for(5, 'its end', sub { !kill 0 => @worker }) },
       'a core that does not answer is not waited for')
        or diag($nginx{two}->error_log);
    kill CONT => $core;
    becomes('web two', 'served again', sub { page("http://$VIP/", 2) });
};

is(join("\n", map { grep { !/(?:ended|exited) on signal 9|failed \(24/
                           && !/worker_connections are not enough/ }
                    $nginx{$_}->errors(qr/\[(?:alert|emerg|crit)\]/) }
              sort keys %nginx), '', 'nothing alarming in the logs');

done_testing();
