#!/usr/bin/perl

# What stream does with tailnet listeners and servers, TCP and UDP, IPv4 and
# IPv6, against a real tailscaled; and that a reload keeps them, also one that
# takes the modules out and one that puts them back.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep);

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet;
my ($peer, $web, $infra) = @{$tailnet}{qw(peer web infra)};

# An echo on the peer and one beside nginx, TCP and UDP, both families.

my $echo = $lab->write_file($lab->path('echo.pl'), <<'PERL');
use strict;
use IO::Select;
use IO::Socket::IP;
my $port = shift;
my @any = (LocalHost => '::', LocalPort => $port, V6Only => 0);
my $tcp = IO::Socket::IP->new(@any, Listen => 64, ReuseAddr => 1) or die $@;
my $udp = IO::Socket::IP->new(@any, Proto => 'udp') or die $@;
my $all = IO::Select->new($tcp, $udp);
while (my @ready = $all->can_read) {
    for my $s (@ready) {
        if ($s == $tcp) { $all->add($tcp->accept // next) }
        elsif ($s == $udp) {
            my $from = $udp->recv(my $text, 65535) // next;
            $udp->send("echo $text", 0, $from);
        }
        elsif (sysread $s, my $text, 65536) { syswrite $s, "echo $text" }
        else { $all->remove($s); close $s }
    }
}
PERL

# Sends `count` lines over one socket, each when the answer to the one before
# is there, and shows the answers.

my $client = $lab->write_file($lab->path('client.pl'), <<'PERL');
use strict;
use IO::Select;
use IO::Socket::IP;
my ($proto, $host, $port, $text, $count) = @ARGV;
$SIG{PIPE} = 'IGNORE';
my $s = IO::Socket::IP->new(Proto => $proto, PeerHost => $host,
    PeerPort => $port, Timeout => 5) or print("no connection\n"), exit;
for (1 .. $count) {
    syswrite $s, "$text\n";
    IO::Select->new($s)->can_read(5) or print("no answer\n"), exit;
    my $n = sysread $s, my $reply, 65536;
    print($n ? $reply : "closed\n");
    exit unless $n;
    select undef, undef, undef, 0.1 if $count > 1;
}
PERL

$peer->host->start('echo', ['perl', $echo, 7000]);
$web->start('echo-web', ['perl', $echo, 7000]);

my $nginx = $lab->nginx(host => $web, module => 1);
my ($crt, $key) = $lab->ca->issue($nginx->prefix, 'web.lab.test', 'web');
my ($peer4, $peer6) = ($peer->ip4, $peer->ip6);
my $block = $nginx->tailnet_block($tailnet->{control}, $tailnet->{auth_key});
my $where = '$protocol $remote_addr $server_addr $server_port';

my %config = (
    main   => "worker_processes 2;\n$block",
    stream => <<"STREAM");
    log_format up '\$server_port \$protocol \$status \$upstream_addr';
    access_log logs/stream.log up;

    upstream peer    { server peer:7000 tailnet=home; }
    upstream six     { zone six 64k; server [$peer6]:7000 tailnet; }
    upstream nobody  { server nobody:7000 tailnet; }
    upstream another { server peer:7009 tailnet; server peer:7000 tailnet; }

    # also the life of a UDP session, which keeps an old worker
    proxy_timeout 2s;

    server { listen 5000 tailnet=home; return "$where\\n"; }
    server { listen 5000 udp tailnet; return "$where\\n"; }
    server { listen 5001 tailnet; proxy_pass 127.0.0.1:7000; }
    server { listen 5001 udp tailnet; proxy_pass 127.0.0.1:7000; }
    server { listen 5002 udp reuseport tailnet; proxy_pass 127.0.0.1:7000; }
    server { listen 5010-5012 tailnet; return "\$server_port\\n"; }
    server {
        listen 5443 ssl tailnet;
        ssl_certificate     $crt;
        ssl_certificate_key $key;
        proxy_pass          peer;
    }

    server { listen 8000; proxy_pass peer; }
    server { listen 8000 udp; proxy_pass peer; }
    server { listen 8001; proxy_pass six; }
    server { listen 8001 udp; proxy_pass six; }
    server { listen 8002; proxy_pass nobody; }
    server { listen 8002 udp; proxy_pass nobody; }
    server { listen 8003; proxy_pass another; }
STREAM

$nginx->configure(%config);
$nginx->start;

my $self = eval { $peer->wait_peer('web', 20) }
    or BAIL_OUT("the node did not join:\n" . $nginx->error_log);
my ($web4) = grep { /\./ } @{$self->{TailscaleIPs}};
my ($web6) = grep { /:/ } @{$self->{TailscaleIPs}};

sub ask {
    my ($host, $proto, $ip, $port, $text, $count) = @_;
    return ($host->capture('perl', $client, $proto, $ip, $port, $text // 'x',
                           $count // 1))[1];
}

sub from_peer { return ask($peer->host, @_) }
sub from_host { my $p = shift; return ask($infra, $p, $web->ip4, @_) }

eval {
    $lab->wait_for(20, 'the listener',
                   sub { from_peer('tcp', $web4, 5000) =~ /^TCP/ });
    $lab->wait_for(20, 'the upstream',
                   sub { from_host('tcp', 8000) =~ /^echo/ });
} or diag($@, $nginx->error_log);


sub check_all {
    my ($when) = @_;

    for my $case (['IPv4', $web4, $peer4], ['IPv6', $web6, $peer6]) {
        my ($family, $to, $from) = @$case;

        for my $proto (qw(tcp udp)) {
            is(from_peer($proto, $to, 5000), uc($proto)
               . " $from $to 5000\n", "$when: $proto listener, $family");
            is(from_peer($proto, $to, 5001, 'hello', 2),
               "echo hello\n" x 2, "$when: $proto to a server, $family");
        }
        is(from_peer('udp', $to, 5002, 'hello'), "echo hello\n",
           "$when: udp with reuseport, $family");
    }

    for my $proto (qw(tcp udp)) {
        is(from_host($proto, 8000, 'abc', 2), "echo abc\n" x 2,
           "$when: $proto upstream by name");
        is(from_host($proto, 8001, 'abc'), "echo abc\n",
           "$when: $proto upstream by IPv6");
    }
}


check_all('started');

is(from_peer('tcp', $web4, $_), "$_\n", "port $_ of a range") for 5010 .. 5012;

my $tls = join ' ', map { "'$_'" } 'openssl', 's_client', '-quiet',
    '-connect', "$web4:5443", '-servername', 'web.lab.test', '-CAfile',
    $lab->ca->cert, '-verify_return_error', '-verify_hostname', 'web.lab.test';
my (undef, $out) = $peer->host->capture('sh', '-c',
    "(echo tls; sleep 4) | timeout 20 $tls 2>/dev/null");
is($out, "echo tls\n", 'TLS on a listener, to an upstream');

is(from_host('tcp', 8003, 'abc'), "echo abc\n", 'the next server');


subtest 'no such peer' => sub {
    my $lines = sub {
        scalar $nginx->errors(qr/connect\(\) to nobody:7000 of tailnet "home"/)
    };

    is(from_host('tcp', 8002), "closed\n", 'TCP: closed');
    is($lines->(), 1, 'TCP: one line');
    my $errors = () = $nginx->errors(qr/\[error\].*nobody:7000/);
    is($errors, 1, 'TCP: no other line');

    from_host('udp', 8002);
    is($lines->(), 2, 'UDP: one line');
};


subtest 'a reload' => sub {
    my @open;

    for my $case (['tcp', $web4, 5001], ['tcp', $web6, 5001]) {
        open my $fh, '-|', $peer->host->command('perl', $client, @$case,
                                                'keep', 30) or die $!;
        push @open, $fh;
    }
    open my $fh, '-|', $infra->command('perl', $client, 'tcp', $web->ip4,
                                       8000, 'keep', 30) or die $!;
    push @open, $fh;

    sleep 0.7;
    $nginx->reload;

    for my $fh (@open) {
        local $/;
        is(<$fh>, "echo keep\n" x 30, 'a connection lives on');
    }

    check_all('reloaded');
};


subtest 'without the modules and back' => sub {
    my $plain = <<'STREAM' =~ s/^ {4}//gmr;
    server { listen 8009; return "plain\n"; }
    server { listen 8000 udp; return "plain\n"; }
STREAM

    for my $case (['without ours', "stream {\n$plain}\n", ''],
                  ['without stream', '', ''])
    {
        my ($name, $stream) = @$case;

        my $config = $nginx->config;
        my @load = $config =~ /^(load_module .*ngx_stream_module.*;)$/m;

        $nginx->write('conf/nginx.conf', join("\n",
            ($stream ? @load : ()), "events { }\n", $stream));
        $nginx->reload;

        is(from_host('tcp', 8009), $stream ? "plain\n" : "no connection\n",
           $name);

        my $gone = eval {
            $lab->wait_for(15, 'the listener to go', sub {
                from_peer('tcp', $web4, 5010) eq "no connection\n"
            })
        };
        ok($gone, "$name: no listener on the tailnet");

        $nginx->configure(%config);
        $nginx->reload;

        my $back = eval {
            $lab->wait_for(20, 'the node',
                           sub { from_peer('tcp', $web4, 5010) =~ /^5010/ })
        };
        ok($back, "$name: and back") or diag($nginx->error_log);
    }
};


subtest 'refused' => sub {
    for my $case (
        ['a port of http', qr/TCP port 5000 of tailnet "home" is used both in/,
         http => 'server { listen 5000 tailnet; }'],
        ['a port twice', qr/duplicate .*5001/,
         stream => 'server { return 1; '
                   . 'listen 5001 udp tailnet; ' x 2 . '}'],
        ['a server without port', qr/no port in "peer" of "server"/,
         stream => 'upstream u { server peer tailnet; }'],
        ['a range that ends before it begins', qr/invalid "12-10" of "listen"/,
         stream => 'server { listen 12-10 tailnet; return 1; }'],
        ['an unknown node', qr/tailnet "nowhere"/,
         stream => 'server { listen 12 tailnet=nowhere; return 1; }'])
    {
        my ($name, $message, %text) = @$case;

        $nginx->configure(%config, %text);
        my ($status, $output) = $nginx->test_config;

        isnt($status, 0, $name);
        like($output . $nginx->error_log, $message, "$name: why");
    }

    $nginx->configure(%config);
};


subtest 'the end' => sub {
    is($nginx->quit, 0, 'nginx quits');
    is(join("\n", $nginx->errors(qr/\[(?:alert|crit)\]/)), '',
       'nothing alarming in the log');
};

done_testing();
