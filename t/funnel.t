#!/usr/bin/perl

# Funnel: clients of the Internet reach nginx through a relay, which is a
# program over a real tailscaled, and are to nginx who they are. What a relay
# may not ask for, and what control is told.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::MD5 qw(md5_hex);
use Socket qw(:DEFAULT IPPROTO_TCP TCP_NODELAY);
use Test::More;
use Time::HiRes qw(time sleep);

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet(testcontrol => 1);
my ($peer, $web, $infra, $control) = @{$tailnet}{qw(peer web infra control)};
my $nginx = $lab->nginx(host => $web, module => 1);

my ($cert, $key) = $lab->ca->issue($nginx->prefix, 'web.lab.test');
my $https = <<"HTTP";
    ssl_certificate     $cert;
    ssl_certificate_key $key;

    server {
        listen 127.0.0.1:7000;
        client_max_body_size 0;
        location /status { tailnet_status; }
        location /whose {
            return 200 "\$http_tailscale_user_login|\$http_tailscale_funnel_request";
        }
        location / { return 200 \$content_length; }
    }
    server {
        %s
        client_max_body_size 0;
        tailnet_headers on;

        location / {
            return 200 "\$remote_addr \$server_addr:\$server_port \$tailnet_funnel \$tailnet_ingress_addr [\$tailnet_peer] \$server_protocol";
        }
        location /members { tailnet_allow all; tailnet_deny all; try_files /page =404; }
        location /all { tailnet_allow funnel; tailnet_deny all; try_files /page =404; }
        location /files/ { alias html/; }
        location /slow/ { alias html/; limit_rate 4m; }
        location /post { proxy_pass http://127.0.0.1:7000; }
        location /whose { proxy_pass http://127.0.0.1:7000; }
    }
    server {
        listen 8080 tailnet=home%s;
        location / { return 200 "only \$tailnet_funnel"; }
        location /late { proxy_pass http://127.0.0.1:7002; }
        location /big { alias html/big; }
    }
HTTP
my $main = $nginx->tailnet_block($control, $tailnet->{auth_key},
                                 extra => 'accept_routes on;');
my $stream = <<"STREAM";
    server {
        listen 8081 tailnet=home funnel;
        proxy_pass 127.0.0.1:7001;
    }
    server {
        listen 10000 tailnet=home funnel;
        return port;
    }
STREAM

my $on = sprintf $https, "listen 443 ssl http2 tailnet=home funnel;",
    ' funnel=only';
my $off = sprintf $https, "listen 443 ssl http2 tailnet=home;", '';

$nginx->configure(main => $main, http => $on, stream => $stream);
$nginx->write('html/page', 'a page');
$nginx->write('html/big', join '', map { chr rand 256 } 1 .. 8 << 20);
my $digest = md5_hex($lab->read_file($nginx->prefix . '/html/big'));

$nginx->start;

my $node = $peer->wait_peer('web', 20);
my ($ip) = grep { !/:/ } @{$node->{TailscaleIPs}};

# A port more than testcontrol allows by itself, and not 10000.

my $self = $control->node('web');
$control->call(POST => "/cap-map?node=$self->{Key}", {
    https => undef, funnel => undef,
    'https://tailscale.com/cap/funnel-ports?ports=443,8080-8090' => undef,
});

ok($nginx->wait_error_log(10, qr/Funnel to port 8081 is on/), 'Funnel is on');
ok($nginx->wait_error_log(10, qr/no Funnel to port 10000: Funnel does not/),
   'not to every port');

ok(eval { $lab->wait_for(10, 'control to know', sub {
    $control->node('web')->{Hostinfo}{IngressEnabled}
}) }, 'control is told');
ok(!$control->node('web')->{Hostinfo}{WireIngress}, 'what it is');

my $urls = $lab->wait_for(10, 'the PeerAPI to be announced', sub {
    my $u = $peer->peer('web')->{PeerAPIURL};
    ref $u && @$u == 2 ? $u : undef;
});
my ($url4) = grep { !/\[/ } @$urls;
my ($api4, $api6) = map { s{^http://}{}r } $url4, grep { /\[/ } @$urls;

my $relays = 0;

sub relay {
    my ($port, $target, %opt) = @_;

    my $p = $peer->host->start('ingress-' . ++$relays,
        [$lab->bin('ingress'), "-listen=:$port", '-peerapi',
         $opt{api} // $api4, "-target=$target",
         $opt{src} ? "-src=$opt{src}" : ()]);
    $p->wait_until(5, 'the port', sub { $peer->host->accepts($port) });

    return $p;
}

my $relay_ip = $peer->host->ip4;
my $relay4 = relay(4443, 'web.lab.test:443');
relay(4446, 'WEB.lab.test.:443', api => $api6);
relay(4480, 'web.lab.test:8080');
relay(4481, 'web.lab.test:8081');
relay(4400, 'web.lab.test:10000');
relay(4401, 'web.lab.test:4444');
relay(4402, 'www.lab.test:443');
relay(4403, 'web.lab.test:443', src => '100.64.0.9:1000');

sub get {
    my ($path, %opt) = @_;
    my $port = delete $opt{port} // 4443;

    return $infra->get("https://web.lab.test:$port$path",
        cacert => $lab->ca->cert, resolve => "web.lab.test:$port:$relay_ip",
        timeout => 20, %opt);
}

my $from = $infra->ip4;
my $relay = $peer->ip4;

is(get('/', args => ['--http1.1'])->{body},
   "$from $ip:443 1 $relay [] HTTP/1.1", 'by HTTP/1.1') or diag $relay4->log;
is(get('/', args => ['--http2'])->{body},
   "$from $ip:443 1 $relay [] HTTP/2.0", 'by HTTP/2');
like(get('/', port => 4446)->{body}, qr/^\Q$from $ip:443\E 1 fd/,
     'through the PeerAPI of IPv6');
is(get('/members')->{status}, 403, 'no member of the tailnet');
is(get('/all')->{body}, 'a page', 'unless Funnel is let in');
is(get('/whose', headers => ['Tailscale-User-Login: king@example.com',
                             'Tailscale-Funnel-Request: no'])->{body},
   '|?1', 'forged identity headers are removed, and Funnel is told');

my $direct = $peer->get("https://web.lab.test/", cacert => $lab->ca->cert,
                        resolve => "web.lab.test:443:$ip");
like($direct->{body}, qr/^\Q$relay $ip:443\E 0? *\[?.*\[peer\]/,
     'the tailnet comes as ever') or diag $direct->{error};

is($infra->get("http://$relay_ip:4480/")->{body}, 'only 1', 'a port for it');
ok(!$peer->get("http://$ip:8080/", timeout => 2)->{ok},
   'which the tailnet has not');

# From the relay nginx has a connection of TCP, with the options of one.

sub nodelay {
    my @values;

    for my $pid ($web->processes('nginx')) {
        my $pidfd = syscall 434, $pid + 0, 0;           # pidfd_open()

        for my $fd (map { m{/(\d+)\z} } glob "/proc/$pid/fd/*") {
            my $n = syscall 438, $pidfd, $fd + 0, 0;    # pidfd_getfd()
            next if $n == -1;
            open my $s, '+<&=', $n or die "open: $!";
            my $name = getpeername $s or next;

            push @values, unpack 'i', getsockopt $s, IPPROTO_TCP, TCP_NODELAY
                if sockaddr_family($name) == AF_INET
                    && inet_ntoa((sockaddr_in($name))[1]) eq $relay;
        }

        open my $closed, '<&=', $pidfd or die "open: $!";
    }

    return "@values";
}

SKIP: {
    skip 'with lwIP that is the core\'s', 1
        if ($ENV{TAILNET_STACK} // '') eq 'lwip';

    my $slow = $infra->start('nodelay', ['curl', '-s', '-o', '/dev/null',
        '--cacert', $lab->ca->cert, '--resolve', "web.lab.test:4443:$relay_ip",
        'https://web.lab.test:4443/slow/big']);

    my $got = eval { $lab->wait_for(5, 'a connection', \&nodelay) };
    is($got, 1, 'TCP_NODELAY');
    $slow->stop;
}

# The core is slow to hand a connection over, and then ends its own way to
# nginx: that is no end of the client, who says more while it waits.

my $late = $web->start('late', [$^X, '-MIO::Socket::IP', '-e', <<'PERL']);
$SIG{PIPE} = 'IGNORE';
my $l = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 7002,
                            Listen => 5) or die $@;
while (my $s = $l->accept) {
    sysread $s, my $request, 4096;
    sleep 1;
    print $s "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlate\n";
}
PERL
$late->wait_until(5, 'the port', sub { $web->accepts(7002) });

my (undef, $unix) = $web->capture('cat', '/proc/net/unix');
my $said = '';

for my $name ($unix =~ /^\S+ \S+ \S+ 00010000 0005 .* \@(\S+)$/mg) {
    my (undef, $text) = $web->capture(Tailnet::Lab->build('t/late'), $name,
        "GET /late HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    $said .= $text;
}

like($said, qr/^late\n.*^only 1/ms, 'a connection that is handed over late')
    or diag($unix, $nginx->error_log);
$late->stop;

my $r = get('/files/big');
is(md5_hex($r->{body}), $digest, 'a large body down');
$r = get('/post', args => ['--data-binary',
                           '@' . $nginx->prefix . '/html/big']);
is($r->{body}, 8 << 20, 'and up') or diag $r->{error};

# Many at a time.

my (undef, $many) = $infra->capture('bash', '-c', <<"SH");
for i in \$(seq 300); do
    { curl -s -m 240 --cacert @{[$lab->ca->cert]} \\
        --resolve web.lab.test:4443:$relay_ip \\
        https://web.lab.test:4443/all || printf ' (curl: %d)' \$?; } &
done
wait
SH
my $pages = () = $many =~ /a page/g;
is($pages, 300, 'three hundred at a time')
    or diag $many =~ s/(a page)+/.../gr, "\n",
            join "\n", $nginx->errors(qr/funnel|PeerAPI|refused/i);

# Refused.

ok(!get('/', port => $_->[0], timeout => 3)->{ok}, $_->[1])
    for [4402, 'another name'], [4403, 'a client of the tailnet\'s addresses'];
ok(!$infra->get("http://$relay_ip:$_->[0]/", timeout => 3)->{ok}, $_->[1])
    for [4400, 'a port that is not allowed'], [4401, 'a port without Funnel'];

sub ask {
    my ($method, @headers) = @_;
    return $peer->get("$url4/v0/ingress", method => $method,
                      headers => \@headers, timeout => 15)->{status};
}

my @good = ('Tailscale-Ingress-Src: 192.0.2.1:1000',
            'Tailscale-Ingress-Target: web.lab.test:443');

is(ask('GET', @good), 405, 'another method');
is(ask('POST', $good[0]), 400, 'no target');
is(ask('POST', $good[1]), 400, 'no source');
is(ask('POST', 'Tailscale-Ingress-Src: 192.0.2.1', $good[1]), 400,
   'a source without a port');
is(ask('POST', $good[0], 'Tailscale-Ingress-Target: web.lab.test'), 400,
   'a target without a port');
is(ask('POST', @good, 'Origin: http://evil.example'), 403, 'a web page');

# A host behind a peer is no peer: it may talk to nginx by policy, but not to
# the PeerAPI.

$peer->cli('set', '--advertise-routes=10.9.0.0/24',
           '--snat-subnet-routes=false');
$peer->host->ip('addr', 'add', '10.9.0.1/32', 'dev', 'lo');
$control->call(POST => '/routes?node=' . $control->node('peer')->{Key},
               ['10.9.0.0/24']);

is($peer->wait_get("https://web.lab.test/", cacert => $lab->ca->cert,
                   resolve => "web.lab.test:443:$ip",
                   args => ['--interface', '10.9.0.1'])->{status}, 200,
   'a host behind a peer');
ok(!$peer->get("$url4/", timeout => 5,
               args => ['--interface', '10.9.0.1'])->{ok},
   'is no peer to the PeerAPI');
like($web->get('http://127.0.0.1:7000/status?format=prometheus')->{body},
     qr/^tailnet_peerapi_requests_total\{.*"unknown_peer"\} [1-9]/m,
     'which is counted');

# A relay that floods, and one that stalls: what they may hold is bounded, and
# the others are served as ever.

sub core {
    return ($web->processes('tailnet-core'))[0];
}

sub held {
    my $pid = core();
    my ($rss) = $lab->read_file("/proc/$pid/status") =~ /^VmRSS:\s+(\d+)/m;
    return ($rss, scalar(() = glob "/proc/$pid/fd/*"));
}

sub perl_on {
    my ($host, $name, $text, @args) = @_;
    my $file = $lab->write_file($lab->path("$name.pl"),
        "use strict; use IO::Socket::INET; use IO::Select; \$| = 1;\n$text");

    return $host->start($name, [$^X, $file, @args]);
}

my ($rss, $fds) = held();
my $stalls = perl_on($peer->host, 'stalls', <<'PERL', $api4);
my (@s, %gone);
my $select = IO::Select->new;
for (1 .. 1100) {
    my $s = IO::Socket::INET->new(PeerAddr => $ARGV[0], Timeout => 10)
        or next;
    syswrite $s, "POST /v0/ingress HTTP/1.1\r\nHost: ";
    push @s, $s;
    $select->add($s);
}
my $end = time + 30;
while (keys %gone < @s - 1024 && time < $end) {
    for my $s ($select->can_read(0.5)) {
        $gone{$s} = 1;
        $select->remove($s);
    }
}
printf "refused %d of %d\n", scalar keys %gone, scalar @s;
my ($last) = grep { !$gone{$_} } @s;
sleep 2;
@s = ();
IO::Select->new($last)->can_read(40);
sysread $last, my $b, 1 or print "closed\n";
PERL
ok(eval { $stalls->wait_until(40, 'an answer', sub {
    $stalls->log =~ /refused/ }) }, 'requests that never end');
my ($refused, $of) = $stalls->log =~ /^refused (\d+) of (\d+)/m;
ok($refused && $refused >= $of - 1024 && $refused < $of,
   'are taken up to a number') or diag $stalls->log;
is($peer->get("https://web.lab.test/", cacert => $lab->ca->cert,
              resolve => "web.lab.test:443:$ip")->{status}, 200,
   'the tailnet is served meanwhile');

my $flood = perl_on($peer->host, 'flood', <<'PERL', $api4);
my $said = 0;
for (1 .. 100) {
    my $s = IO::Socket::INET->new(PeerAddr => $ARGV[0], Timeout => 10)
        or next;
    local $SIG{PIPE} = 'IGNORE';
    syswrite $s, "POST /v0/ingress HTTP/1.1\r\n";
    for my $n (1 .. 2000) {
        syswrite $s, "X-$n: " . 'a' x 500 . "\r\n" or last;
    }
    my $got = '';
    sysread $s, $got, 99;
    $said++ if $got =~ m{^HTTP/1.1 400 };
}
print "done, $said\n";
PERL
ok(eval { $flood->wait_until(60, 'its end', sub { $flood->log =~ /done/ }) },
   'headers without an end') or diag $flood->log;
# Clients that ask for much and do not read.

my $lazy = perl_on($infra, 'lazy', <<'PERL', "$relay_ip:4480");
my @s = map { IO::Socket::INET->new(PeerAddr => $ARGV[0]) } 1 .. 30;
syswrite $_, "GET /big HTTP/1.0\r\n\r\n" for @s;
print "asked\n";
sleep 60;
PERL
$lazy->wait_until(10, 'requests', sub { $lazy->log =~ /asked/ });

is($infra->wait_get('https://web.lab.test:4443/all', cacert => $lab->ca->cert,
                    resolve => "web.lab.test:4443:$relay_ip")->{body},
   'a page', 'others are served');
my ($rss_now, $fds_now) = held();
cmp_ok($rss_now - $rss, '<', 16 << 10, 'the core did not grow for them');
ok(eval { $lab->wait_for(20, 'descriptors to be closed', sub {
    (held())[1] < $fds + 20 }) }, 'nor kept their connections')
    or diag "$fds descriptors before, now ", (held())[1];
$lazy->stop;
ok(eval { $stalls->wait_until(40, 'its end', sub {
    $stalls->log =~ /^closed/m }) }, 'who says nothing is closed');

my @refusals = $nginx->errors(qr/PeerAPI: .* is refused/);
cmp_ok(scalar @refusals, '<', 60, 'refusals do not fill the log');

# The core is killed under a transfer.

my $out = $lab->path('slow');
my $download = fork() // die "fork: $!";

if ($download == 0) {
    exec $infra->command('curl', '-s', '-m', 120, '-o', $out, '--cacert',
        $lab->ca->cert, '--resolve', "web.lab.test:4443:$relay_ip",
        'https://web.lab.test:4443/slow/big') or exit 1;
}

$lab->wait_for(10, 'the transfer', sub { (-s $out // 0) > 1 << 20 });
kill KILL => core();
waitpid $download, 0;

SKIP: {
    skip 'with lwIP a connection ends with the core', 2
        if ($ENV{TAILNET_STACK} // '') eq 'lwip';

    is($?, 0, 'a transfer outlives the core');
    is(md5_hex($lab->read_file($out)), $digest, 'complete');
}

is(eval { $lab->wait_for(20, 'a page', sub { get('/all', timeout => 3)->{ok} })
       ; get('/all')->{body} }, 'a page', 'a new core takes connections');

# A relay as the Internet's are, which control does not vouch for: it reaches
# the PeerAPI and nothing else.

my $unsigned = '/unsigned?node=' . $control->node('peer')->{Key} . '&on=';
$control->call(POST => $unsigned . 1);

ok(eval { $lab->wait_for(20, 'control to say so', sub {
    !$peer->get("https://web.lab.test/", timeout => 2, cacert =>
                $lab->ca->cert, resolve => "web.lab.test:443:$ip")->{ok}
}) }, 'an unsigned peer has no way to the ports');
is($infra->wait_get('https://web.lab.test:4443/all', cacert => $lab->ca->cert,
                    resolve => "web.lab.test:4443:$relay_ip")->{body},
   'a page', 'but brings connections from the Internet');
$control->call(POST => $unsigned . 0);

# What the tailnet does not allow is a line that says what to switch on.

sub allowed {
    my @names = @_;
    my $node = $control->node('web')->{Key};

    $control->call(POST => "/cap-map?node=$node", {});
    $control->call(POST => "/node?node=$node", { Capabilities => \@names });
}

my $ports = 'https://tailscale.com/cap/funnel-ports?ports=443,8080-8090';

allowed('https', $ports);
ok($nginx->wait_error_log(10, qr/no Funnel to port 443:.*attribute "funnel"/),
   'without the attribute');
ok(eval { $lab->wait_for(10, 'control to know', sub {
    my $h = $control->node('web')->{Hostinfo};
    $h->{WireIngress} && !$h->{IngressEnabled}
}) }, 'of which control is told') or
    diag explain $control->node('web')->{Hostinfo};
ok(!get('/', timeout => 3)->{ok}, 'there is no way in');
allowed('funnel', $ports);
ok($nginx->wait_error_log(10, qr/no Funnel to port 443: HTTPS.* are off/),
   'without certificates');
allowed('https', 'funnel', $ports);

# Only a port that is not allowed: control is told that it would be so.

$nginx->configure(main => $main, http => $off, stream => <<'STREAM');
    server { listen 10000 tailnet=home funnel; return port; }
STREAM
$nginx->reload;

ok(eval { $lab->wait_for(10, 'control to know', sub {
    my $h = $control->node('web')->{Hostinfo};
    $h->{WireIngress} && !$h->{IngressEnabled}
}) }, 'after a reload with a port that is not allowed')
    or diag explain $control->node('web')->{Hostinfo};

# Without it in the configuration control is told so.

$nginx->configure(main => $main, http => $off, stream => '');
$nginx->reload;

ok(eval { $lab->wait_for(10, 'control to know', sub {
    my $h = $control->node('web')->{Hostinfo};
    !$h->{WireIngress} && !$h->{IngressEnabled}
}) }, 'after a reload without Funnel it is off');
ok(!get('/', timeout => 3)->{ok}, 'and no way in');

is($nginx->quit, 0, 'nginx quits');

my @alerts = grep { !/core process \d+ ended on signal 9/ }
    $nginx->errors(qr/\[(alert|crit|emerg)\]/);
is(@alerts, 0, 'no alerts') or diag join "\n", @alerts;

done_testing();
