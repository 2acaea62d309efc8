#!/usr/bin/perl

# Other nginxes than the installed one, each with our module built for it: that
# of Debian 13, the newest of Debian or a source tree named by
# TAILNET_NGINX_SOURCE, one without stream, which waits for events by poll(), one
# that our module is linked into;
# HTTP/3, also of a service and with quic_bpf; what stream passes on; sticky
# sessions and names that are resolved; two nodes in one nginx; the module
# unloaded and loaded again by reloads; and beside njs.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Path qw(make_path);
use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $script = "$FindBin::Bin/lab/nginx";

$ENV{TAILNET_BUILD} //= "$FindBin::Bin/../build";

# (a name, arguments of the script, what has to be there)

my @versions = (
    ['of Debian 13', 'trixie', 'dynamic'],
    ['the newest', $ENV{TAILNET_NGINX_SOURCE} // 'sid', 'static'],
    ['without stream', 'trixie', 'http'],
    ['linked in', 'trixie', 'linked'],
);

# A network behind, of which there is nothing.

my ($FAR, $FAR6) = ('192.168.78', 'fd07:78:');

my ($tailnet, $peer, $tagged, $crt, $key);

sub tailnet {
    return if $tailnet;

    $tailnet = $lab->small_tailnet;
    $peer = $tailnet->{peer};
    $tagged = $tailnet->{control}->auth_key(tags => ['tag:web']);
}


# An old worker takes no new connection of QUIC, but its socket gets some as
# long as it has others: it is waited for.

sub reload {
    my ($nginx) = @_;
    my @old = $nginx->workers;

    $nginx->reload;
    $lab->wait_for(20, 'the end of the workers before', sub {
        !grep { -e "/proc/$_" } @old
    });
}


# A HTTP/3 client: the body. One that is ended in the middle, after so many
# seconds, leaves a connection behind, for as long again.

sub get3 {
    my ($ip, $uri, $from, $seconds) = @_;
    my $dir = $lab->path('got3');
    my $file = "$dir/" . $uri =~ s{.*/}{}r;
    my $output = '';

    make_path($dir);

    # a tailscaled lists a node, or a route, before it has the way to it

    eval { $lab->wait_for(10, 'a way', sub {
        unlink $file;
        (undef, $output) = ($from // $peer)->host->capture('timeout',
            $seconds // 40, 'gtlsclient',
            '-q', $seconds ? "--timeout=${seconds}s" : (),
            '--exit-on-all-streams-close', "--download=$dir",
            '--sni=web.lab.test', $ip, 443, "https://web.lab.test/$uri");
        $output !~ /unreachable/ }) };

    return $lab->read_file($file) || $output;
}


sub config {
    my ($nginx, $name, %opt) = @_;
    my ($stream, $newer, $quic) = @opt{qw(stream newer quic)};
    my $pass = $newer ? <<'PASS' : '';
    server { listen 5002 tailnet=home; return "of $tailnet_name\n"; }
    server { listen 5003; pass 0.0.0.0:5002; }
    server { listen 5004 tailnet=home; pass 0.0.0.0:5002; }
PASS

    my $h3 = $quic ? 'listen 443 quic reuseport tailnet=home;' : '';
    my $captured = $quic ? <<'CAPTURED' : '';
    server {
        listen 443 quic reuseport tailnet=home capture;
        return 200 "$server_protocol $remote_addr $tailnet_destination\n";
    }
CAPTURED
    my $h2 = $newer ? 'http2 on;' : '';

    return (
        main => "worker_processes 2;\n" . ($opt{main} // '')
            . $nginx->tailnet_block($tailnet->{control},
                $tailnet->{auth_key}, hostname => $name,
                $quic ? (extra => "advertise_routes $FAR.0/24 $FAR6:/64;")
                      : ())
            . $nginx->tailnet_block($tailnet->{control}, $tagged,
                name => 'farm', hostname => "$name-farm"),
        http => ($opt{http} // '') . <<"HTTP",
    upstream keep  { zone keep 64k; server peer:80 tailnet=home;
                     keepalive 4; }
    upstream farm  { zone farm 64k; least_conn;
                     server tag:web:81 tailnet=home; }
    upstream hash  { hash \$arg_k; server tag:web:81 tailnet=home; }
    upstream none  { server nobody:81 tailnet=home; }
    proxy_http_version 1.1;
    proxy_set_header   Connection "";

    # the node of the version before is online for control for a while
    proxy_connect_timeout 2s;

    ssl_certificate     $crt;
    ssl_certificate_key $key;

    server {
        listen 80 tailnet=home so_keepalive=on deferred fastopen=16;
        listen 443 ssl tailnet=home reuseport rcvbuf=64k sndbuf=64k;
        $h3
        $h2
        location / { return 200 "\$server_protocol \$remote_addr\\n"; }
        location = /who { return 200 "\$server_protocol \$tailnet_peer\\n"; }
        location /html/ { root %%PREFIX%%; }
        location /keep/ { proxy_pass http://keep/; }
        location /farm/ { proxy_pass http://farm/; }
        location /hash/ { proxy_pass http://hash/; }
        location /none/ { proxy_pass http://none/; }
        $opt{location}
    }
$captured
    server { listen 81 tailnet=farm; return 200 "farm \$remote_addr\\n"; }
    server { listen 80; return 200 "host\\n"; }
HTTP
        $stream ? (stream => $pass . <<'STREAM') : ());
    upstream peer { zone peer 64k; server peer:80 tailnet=home; }
    server { listen 5000-5001 tailnet=home; proxy_pass peer; }
    server { listen 5000 udp tailnet=home; return "udp $remote_addr\n"; }
STREAM
}


sub udp {
    my ($ip) = @_;
    my $code = 'use IO::Socket::IP; $s = IO::Socket::IP->new(Proto => "udp", '
        . 'PeerHost => shift, PeerPort => 5000); $s->send("x"); alarm 15; '
        . '$s->recv($_, 99); print';

    return ($peer->host->capture('perl', '-e', $code, $ip))[1];
}


# What a stream listener says at once.

sub said {
    my ($host, $ip, $port) = @_;
    my $code = 'use IO::Socket::IP; $s = IO::Socket::IP->new(PeerHost => shift, '
        . 'PeerPort => shift) or die $@; alarm 15; print <$s>';

    return ($host->capture('perl', '-e', $code, $ip, $port))[1];
}


sub serves {
    my ($when, $name, $web4, $web6, %opt) = @_;
    my @six = (args => ['--connect-to', "::[$web6]:"]);
    my ($peer4, $peer6) = ($peer->ip4, $peer->ip6);
    my $ca = $lab->ca->cert;
    my $url = 'https://web.lab.test';
    my @at = (cacert => $ca, resolve => "web.lab.test:443:$web4");

    is($peer->wait_get("http://$web4/", seconds => 15)->{body},
       "HTTP/1.1 $peer4\n", "$when: IPv4");
    is($peer->get("http://$name/", @six)->{body}, "HTTP/1.1 $peer6\n",
       "$when: IPv6");
    is($peer->get("$url/", @at)->{body}, "HTTP/2.0 $peer4\n",
       "$when: HTTP/2") if $opt{newer};
    like($peer->wait_get("http://$web4/keep/")->{body}, qr/^Hello/,
         "$when: an upstream by name");

    my $farm = $peer->wait_get("http://$web4/farm/")->{body};
    is($farm, "farm $web4\n", "$when: an upstream by tag, another node");
    for my $n (1 .. 2) {
        my $reply = $peer->get("http://$web4/hash/?k=$n");
        is($reply->{body}, $farm, "$when: by hash")
            or diag(explain($reply), $opt{nginx}->error_log);
    }
    is($peer->get("http://$web4/none/")->{status}, 502, "$when: nobody");

    if ($opt{stream}) {
        like($peer->get("http://$web4:5001/")->{body}, qr/^Hello/,
             "$when: stream");
        is(udp($web4), "udp $peer4\n", "$when: UDP");
        is(udp($web6), "udp $peer6\n", "$when: UDP, IPv6");
    }

    if ($opt{stream} && $opt{newer}) {
        my $host = $opt{nginx}->host->ip4;
        my $note = qr/^of \S+\n\z/;

        like(said($peer->host, $web4, 5002), $note, "$when: a stream's node");
        like(said($peer->host, $web4, 5004), $note,
             "$when: what the tailnet's listener passes on is of it");
        is(said($tailnet->{infra}, $host, 5003), "of \n",
           "$when: what the host's listener passes on is nobody's");
    }

    if ($opt{quic}) {
        is(get3($web4, 'page'), "HTTP/3.0 $peer4\n", "$when: HTTP/3");
        is(get3($web4, 'who'), "HTTP/3.0 peer\n", "$when: HTTP/3, who it is");
        is(get3($web6, 'page'), "HTTP/3.0 $peer6\n", "$when: HTTP/3, IPv6");
        is(get3("$FAR.9", 'page'), "HTTP/3.0 $peer4 $FAR.9:443\n",
           "$when: HTTP/3, captured");
        is(get3("$FAR6:9", 'page'), "HTTP/3.0 $peer6 [$FAR6:9]:443\n",
           "$when: HTTP/3, captured, IPv6");
    }
}


# What the core tells a worker later: how the peer with a tag is called now.

sub hears {
    my ($web4, $name) = @_;
    my $control = $tailnet->{control};
    my $id = $control->node($name)->{id};

    for my $now ($name, "$name-other", $name) {
        $control->cli('nodes', 'rename', '-i', $id, $now);
        ok(eval { $lab->wait_for(10, $now, sub {
            $peer->get("http://$web4/told")->{headers}
                =~ /^X-Upstream: $now:81\r$/m
        }) }, "an upstream by tag is $now");
    }
}


sub exercise {
    my ($version, $nginx, $name, %opt) = @_;

    ($crt, $key) = $lab->ca->issue($nginx->prefix, 'web.lab.test');

    my @config = config($nginx, $name, %opt);

    $nginx->configure(@config);
    make_path($nginx->prefix . '/html');
    $nginx->start;

    my $self = eval { $peer->wait_peer($name, 20) };
    ok($self, "$version joins") or diag($nginx->error_log), return;

    my ($web4) = grep { /\./ } @{$self->{TailscaleIPs}};
    my ($web6) = grep { /:/ } @{$self->{TailscaleIPs}};

    if ($opt{quic}) {
        $peer->cli('set', '--accept-routes');
        $tailnet->{control}->approve_routes($name,
            @{$tailnet->{control}->wait_routes($name, 2, 20)});
        ok($lab->wait_for(30, 'the routes at the peer', sub {
            @{$peer->peer($name)->{PrimaryRoutes} // []} == 2 }),
           "$version: routes are approved");
    }

    $opt{nginx} = $nginx;
    serves('started', $name, $web4, $web6, %opt);
    hears($web4, "$name-farm") if $opt{poll};

    if ($opt{quic}) {
        my $big = join '', map { chr(33 + $_ % 90) } 1 .. 3_000_000;

        $nginx->write('html/big', $big);
        is(length get3($web4, 'html/big'), length $big,
           'HTTP/3: a large answer is complete');
    }

    # out and in again, three times

    for my $time (1 .. 3) {
        $nginx->write('conf/nginx.conf', join("\n", grep({ /^load_module .*_js_/ }
            split /\n/, $nginx->config), "events { }\n",
            "http { access_log off; server { listen 80; "
            . 'return 200 "plain\n"; } }'));
        reload($nginx);

        ok(eval { $lab->wait_for(10, 'the plain one', sub {
            $tailnet->{infra}->get('http://' . $nginx->host->ip4 . '/')
                ->{body} eq "plain\n"
        }) }, "unloaded, $time");

        $nginx->configure(@config);
        reload($nginx);
        is($peer->wait_get("http://$web4/", seconds => 20)->{status}, 200,
           "loaded again, $time") or diag($nginx->error_log);
    }

    serves('loaded again', $name, $web4, $web6, %opt);
    reload($nginx) for 1 .. 2;
    serves('reloaded', $name, $web4, $web6, %opt);

    if ($opt{quic} && !-e "$ENV{TAILNET_BUILD}/lwip.missing") {
        local $ENV{TAILNET_STACK} = 'lwip';

        $nginx->configure(config($nginx, $name, %opt));
        $nginx->reload;
        ok($nginx->wait_error_log(20,
               qr/stack lwip has no QUIC, listener \S*443 is left out/),
           'on lwip a line says that there is no QUIC');
    }

    is($nginx->quit, 0, 'nginx quits');
    is(join("\n", $nginx->errors(qr/\[(?:alert|emerg|crit)\]/)), '',
       'nothing alarming in the log');
}


for my $case (@versions) {
    my ($name, @args) = @$case;
    my $out = $lab->path('nginx-' . $name =~ s/\W+/-/gr);

    subtest $name => sub {
        my ($status, $said) = Tailnet::Lab::capture($script, @args, $out);
        chomp $said;

        plan skip_all => $said if $status == 2;
        is($status, 0, "built: $said") or return;

        tailnet();

        my $host = 'v' . $said =~ s/\W//gr . $args[1];
        my %poll = $args[1] eq 'http' ? (poll => 1, main => <<'POLL') : ();
events { worker_connections 1024; use poll; }
POLL
        my $nginx = $lab->nginx(host => $tailnet->{web}, module => 1,
                                name => $host, build => $out,
                                binary => "$out/nginx",
                                linked => $args[1] eq 'linked');

        exercise("nginx $said", $nginx, $host, newer => 1, %poll,
                 location => 'location /told { proxy_pass http://farm; '
                             . 'add_header X-Upstream $upstream_addr; }',
                 stream => $args[1] ne 'http',
                 quic => -x '/usr/bin/gtlsclient');
    };
}


# HTTP/3 at the address of a service: each worker has its own socket of it

subtest 'a service' => sub {
    my $out = $lab->path('nginx-of-Debian-13');
    my $vip = '100.70.1.1';

    plan skip_all => 'no nginx with QUIC, or no client'
        unless -x "$out/nginx" && -x '/usr/bin/gtlsclient';

    my $other = Tailnet::Lab->new;
    my $small = $other->small_tailnet(testcontrol => 1);
    my ($control, $from) = @$small{qw(control peer)};
    my $nginx = $other->nginx(host => $small->{web}, module => 1,
                              build => $out, binary => "$out/nginx");

    ($crt, $key) = $other->ca->issue($nginx->prefix, 'web.lab.test');
    # a client that has given up leaves a connection that nginx waits for

    $nginx->configure(main => "worker_processes 3;\n"
        . "worker_shutdown_timeout 3s;\n"
        . $nginx->tailnet_block($control, $small->{auth_key},
                                hostname => 'web', extra => 'tags tag:web;'),
        http => <<"HTTP");
    server {
        listen 443 quic tailnet=home service=svc:web;
        ssl_certificate     $crt;
        ssl_certificate_key $key;
        location / { return 200 "\$server_protocol \$server_addr\n"; }
    }
HTTP
    $nginx->start;
    $from->wait_peer('web', 20);

    my $node = $control->node('web');

    $control->call(POST => "/cap-map?node=$node->{Key}",
                   { 'service-host' => [{ 'svc:web' => [$vip] }] });
    $control->call(POST => "/node?node=$node->{Key}",
                   { Tags => ['tag:web'],
                     AllowedIPs => [@{$node->{Addresses}}, "$vip/32"] });

    my $answers = sub {
        my ($when) = @_;
        my $want = "HTTP/3.0 $vip\n";
        my $got;

        eval { $lab->wait_for(30, 'an answer', sub {
            $got = get3($vip, 'page', $from, 3);
            $got eq $want }) };
        is($got, $want, $when) or diag($nginx->error_log);
        is(join('', map { get3($vip, 'page', $from) } 1 .. 3), $want x 3,
           "$when: by whichever worker") or diag($nginx->error_log);
    };

    $answers->('HTTP/3');
    reload($nginx);
    $answers->('reloaded');

    my ($core) = $nginx->host->processes('tailnet-core');

    kill KILL => $core;
    $answers->('a new core');
    is($nginx->quit, 0, 'nginx quits');
};


# What quic_bpf hands to a newer binary is of the host's listeners alone.

subtest 'quic_bpf' => sub {
    my $out = $lab->path('nginx-of-Debian-13');

    plan skip_all => 'no nginx with QUIC, or no client'
        unless -x "$out/nginx" && -x '/usr/bin/gtlsclient';

    tailnet();

    my $web = $tailnet->{web};
    my $nginx = $lab->nginx(host => $web, module => 1, name => 'bpf',
                            build => $out, binary => "$out/nginx");

    ($crt, $key) = $lab->ca->issue($nginx->prefix, 'web.lab.test');
    $nginx->configure(main => "worker_processes 2;\nquic_bpf on;\n"
        . "worker_shutdown_timeout 3s;\n"
        . $nginx->tailnet_block($tailnet->{control}, $tailnet->{auth_key},
                                hostname => 'bpf'), http => <<"HTTP");
    server {
        listen 443 quic reuseport tailnet=home;
        ssl_certificate     $crt;
        ssl_certificate_key $key;
        location / { return 200 "\$server_protocol\\n"; }
    }
HTTP

    # a daemon: another one ignores USR2 while its parent lives

    $web->run(map { s/daemon off; //r } $nginx->command);

    my $ends = sub {
        my ($of, $when) = @_;
        kill QUIT => $of;
        ok(eval { $lab->wait_for(20, "the end of $of",
                                 sub { $lab->ended($of) }) }, $when);
    };

    ok(eval { $lab->wait_for(10, 'the start', sub {
        $nginx->workers($nginx->master) }) }, 'nginx starts')
        or diag($nginx->error_log), return;

    my $old = $nginx->master;
    my ($ip) = grep { /\./ } @{$peer->wait_peer('bpf', 20)->{TailscaleIPs}};

    is(get3($ip, 'page'), "HTTP/3.0\n", 'HTTP/3');

    kill USR2 => $old;
    ok(eval { $lab->wait_for(15, 'the new master', sub {
        my $new = $nginx->master;
        $new && $new != $old && $nginx->workers($new) }) },
       'another binary starts')
        or diag($nginx->error_log);

    $ends->($old, 'the old one ends');
    is(get3($ip, 'page'), "HTTP/3.0\n", 'HTTP/3 by the other');
    $ends->($nginx->master, 'which ends, too')
        if $nginx->master && $nginx->master != $old;
    is(join("\n", $nginx->errors(qr/\[(?:alert|emerg|crit)\]/)), '',
       'nothing alarming in the log');
};


# A client of Funnel stays one when stream passes it on to another listener.

subtest 'passed on from Funnel' => sub {
    my $out = $lab->path('nginx-of-Debian-13');

    plan skip_all => 'no such nginx' unless -x "$out/nginx";

    my $other = Tailnet::Lab->new;
    my $small = $other->small_tailnet(testcontrol => 1);
    my ($control, $relay, $infra) = @$small{qw(control peer infra)};
    my $nginx = $other->nginx(host => $small->{web}, module => 1,
                              build => $out, binary => "$out/nginx");

    $nginx->configure(main => $nginx->tailnet_block($control,
                                                    $small->{auth_key}),
                      http => ' ', stream => <<'STREAM');
    server {
        listen 5002 tailnet=home;
        return "$tailnet_funnel [$tailnet_peer] $remote_addr\n";
    }
    server { listen 8443 tailnet=home funnel=only; pass 0.0.0.0:5002; }
STREAM
    $nginx->start;

    my ($ip) = grep { /\./ } @{$relay->wait_peer('web', 20)->{TailscaleIPs}};

    $control->call(POST => '/cap-map?node=' . $control->node('web')->{Key}, {
        https => undef, funnel => undef,
        'https://tailscale.com/cap/funnel-ports?ports=443,8443' => undef,
    });
    ok($nginx->wait_error_log(20, qr/Funnel to port 8443 is on/),
       'Funnel is on');

    my $urls = $other->wait_for(20, 'the PeerAPI', sub {
        my $u = $relay->peer('web')->{PeerAPIURL};
        ref $u && @$u == 2 ? $u : undef;
    });
    my ($api) = map { s{^http://}{}r } grep { !/\[/ } @$urls;

    my $ingress = $relay->host->start('ingress',
        [$other->bin('ingress'), '-listen=:4443', '-peerapi', $api,
         '-target=web.lab.test:8443']);
    $ingress->wait_until(5, 'the port', sub { $relay->host->accepts(4443) });

    is(said($infra, $relay->host->ip4, 4443), '1 [] ' . $infra->ip4 . "\n",
       'is a client of Funnel') or diag($nginx->error_log);
    like(said($relay->host, $ip, 5002),
         qr/^0? ?\[peer\] \Q@{[$relay->ip4]}\E$/, 'a peer is one');
    is($nginx->quit, 0, 'nginx quits');
};


# Of newer balancers: each peer of a tag is one to stick to, and beside them
# there may be servers that are resolved while nginx runs.

subtest 'sticky, resolve' => sub {
    my $out = $lab->path('nginx-the-newest');

    plan skip_all => 'no such nginx' unless -x "$out/nginx";

    my $version = (Tailnet::Lab::capture("$out/nginx", '-v'))[1];
    my $number = sprintf('%d%03d%03d', $version =~ m{/(\d+)\.(\d+)\.(\d+)});

    plan skip_all => "$version is too old" unless $number >= 1_029_006;

    tailnet();

    my $sndbuf = $number >= 1_031_003 ? 'proxy_socket_sndbuf 32k;' : '';

    my ($control, $web) = @$tailnet{qw(control web)};
    my $pair = $control->auth_key(tags => ['tag:pair']);
    my $nginx = $lab->nginx(host => $web, module => 1, name => 'sticky',
                            build => $out, binary => "$out/nginx");
    my $dns = $lab->write_file($lab->path('dns.pl'), <<'PERL');
use strict;
use IO::Socket::IP;
my $s = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 5353,
                            Proto => 'udp') or die $@;
while (my $from = $s->recv(my $q, 512)) {
    my $end = index($q, "\0", 12) + 5;
    $s->send(substr($q, 0, 2) . pack('n5', 0x8180, 1, 1, 0, 0)
             . substr($q, 12, $end - 12)
             . pack('n n n N n C4', 0xc00c, 1, 1, 5, 4, 127, 0, 0, 1), 0,
             $from);
}
PERL
    my $resolver = $web->start('dns', ['perl', $dns]);

    my $configure = sub {
        my ($more) = @_;

        $nginx->configure(main => "worker_processes 2;\n" . join('',
            map { $nginx->tailnet_block($control, $_ eq 'home'
                ? $tailnet->{auth_key} : $pair, name => $_,
                hostname => "sticky-$_") } qw(home a b)), http => <<"HTTP");
    resolver 127.0.0.1:5353 ipv6=off;
    upstream cookie {
        zone cookie 64k;
        server tag:pair:81 tailnet=home $more;
        sticky cookie srv;
    }
    upstream learn {
        zone learn 64k;
        server tag:pair:81 tailnet=home;
        sticky learn create=\$upstream_cookie_id lookup=\$cookie_id
               zone=learned:1m;
    }
    upstream mixed {
        zone mixed 64k;
        hash \$arg_k;
        server tag:pair:81 tailnet=home;
        server one.lab.test:8001 resolve;
    }
    server { listen 127.0.0.1:8001; return 200 "host\\n"; }
    server {
        listen 8000;
        location /cookie { proxy_pass http://cookie; $sndbuf }
        location /learn  { proxy_pass http://learn; }
        location /mixed  { proxy_pass http://mixed; }
    }
    server { listen 81 tailnet=a; add_header Set-Cookie id=a\$msec;
             return 200 "a\\n"; }
    server { listen 81 tailnet=b; add_header Set-Cookie id=b\$msec;
             return 200 "b\\n"; }
HTTP
    };
    my $ask = sub {
        my ($uri, $cookie) = @_;
        my $r = $web->get("http://127.0.0.1:8000/$uri", timeout => 5,
                          $cookie ? (headers => ["Cookie: $cookie"]) : ());
        my ($body) = ($r->{body} // '') =~ /^(\w+)\n\z/;
        my $name = $uri eq 'learn' ? 'id' : 'srv';

        return ($body // $r->{status},
                ($r->{headers} // '') =~ /^Set-Cookie: ($name=[^;\r]+)/m);
    };

    $configure->('');
    $nginx->start;

    ok(eval { $lab->wait_for(30, 'both peers', sub {
        my %seen = map { ($ask->('cookie'))[0] => 1 } 1 .. 8;
        "@{[sort keys %seen]}" eq 'a b' }) }, 'both peers serve')
        or diag($nginx->error_log), return;

    my %cookie;

    for my $n (1 .. 12) {
        my ($body, $cookie) = $ask->('cookie');
        $cookie{$body}{$cookie} = 1;
    }

    is(join(' ', map { scalar keys %$_ } { map { %$_ } values %cookie },
                                         map { $cookie{$_} } qw(a b)),
       '2 1 1', 'each with a cookie of its own') or diag(explain(\%cookie));

    my $sticks = sub {
        my ($when) = @_;

        for my $name (qw(a b)) {
            my ($cookie) = keys %{$cookie{$name}};
            is(join('', map { ($ask->('cookie', $cookie))[0] } 1 .. 6),
               $name x 6, "$when: the cookie of $name");
        }
    };

    $sticks->('sticky cookie');

    for my $n (1 .. 4) {
        my ($body, $id) = $ask->('learn');
        is(join('', map { ($ask->('learn', $id))[0] } 1 .. 6), $body x 6,
           "sticky learn: session $n with $body");
    }

    if ($sndbuf) {
        my @holder = $web->processes('tailnet-netns');
        my $sockets = join '', map { (Tailnet::Lab::capture('nsenter', '-t',
            $_, '-n', 'ss', '-tmnH', 'dport', '=', ':81'))[1] } @holder;

        like($sockets, qr/skmem:\S*,tb65536,/, 'proxy_socket_sndbuf')
            or diag($sockets);
    }

    my %by;

    ok(eval { $lab->wait_for(20, 'the name', sub {
        %by = ();
        for my $k (1 .. 16) {
            $by{$k} = join ' ', map { ($ask->("mixed?k=$k"))[0] } 1 .. 3;
        }
        join(', ', sort keys %{{ reverse %by }})
            eq 'a a a, b b b, host host host' }) },
       'hash over peers and a server that is resolved')
        or diag(explain(\%by));

    $nginx->reload;
    ok(eval { $lab->wait_for(20, 'both peers', sub {
        my %seen = map { ($ask->('cookie'))[0] => 1 } 1 .. 8;
        "@{[sort keys %seen]}" eq 'a b' }) }, 'reloaded');
    $sticks->('reloaded');

    $configure->("drain;\n        server 127.0.0.1:8001");
    $nginx->reload;
    ok(eval { $lab->wait_for(20, 'the host', sub {
        ($ask->('cookie'))[0] eq 'host' }) }, 'drain: others go elsewhere');
    ok(eval { $lab->wait_for(20, 'the peers', sub {
        !grep { ($ask->('cookie', (keys %{$cookie{$_}})[0]))[0] ne $_ }
            qw(a b) }) }, 'drain: the peers are there');
    $sticks->('drain');

    is($nginx->quit, 0, 'nginx quits');
    is(join("\n", $nginx->errors(qr/\[(?:alert|emerg|crit)\]/)), '',
       'nothing alarming in the log');
    $resolver->stop;
};


subtest 'beside njs' => sub {
    my ($modules) = (Tailnet::Lab::capture(Tailnet::Lab::find_program('nginx'),
                                   '-V'))[1] =~ /--modules-path=(\S+)/;
    my $njs = "$modules/ngx_http_js_module.so";

    plan skip_all => "there is no $njs" unless -e $njs;

    tailnet();

    my $nginx = $lab->nginx(host => $tailnet->{web}, module => 1,
                            name => 'njs');

    $nginx->write('conf/hello.js', <<'JS');
async function hello(r) {
    let reply = await r.subrequest('/keep/');
    r.return(200, `js ${r.remoteAddress} ${reply.responseText}`);
}
export default { hello };
JS
    my @njs = (main => "load_module $njs;\n", stream => 1, location =>
               'location /js { js_content main.hello; }',
               http => "    js_import main from %%PREFIX%%/conf/hello.js;\n");

    exercise('nginx with njs', $nginx, 'njs', @njs);

    $nginx->configure(config($nginx, 'njs', @njs));
    $nginx->start;
    like($peer->wait_get('http://' . (grep { /\./ } @{$peer->wait_peer('njs',
         20)->{TailscaleIPs}})[0] . '/js', seconds => 15)->{body},
         qr/^js \Q@{[$peer->ip4]}\E Hello/, 'a script over the tailnet');
    is($nginx->quit, 0, 'nginx quits');
};

done_testing();
