#!/usr/bin/perl

# Where DERP alone carries, nodes of ours send each other packets that are
# longer than a tunnel's, by the count of a real derper; to a real tailscaled
# none is longer. All bytes arrive, by the kernel's stack and by lwIP, which
# takes them for what is behind it, too.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $SIZE = 16 * 1024 * 1024;
my $NET = '192.168.77';

my $lab = Tailnet::Lab->new;
my $infra = $lab->host('infra');
my $derper = $lab->derper(host => $infra);
my $control = $lab->headscale(host => $infra, derp => [$derper]);
my $auth_key = $control->auth_key;
my $file = $lab->path('file');
my (%nginx, %host);

$lab->run('dd', 'if=/dev/urandom', "of=$file", 'bs=65536',
          'count=' . $SIZE / 65536, 'status=none');
my $sum = sum($file);

# What is sent to the network behind one of them.

my $in = $lab->path('in');

mkdir $in or die "$in: $!\n";
chmod 0777, $in;

my $BEHIND = <<"HTTP";
        server {
            listen 81 tailnet=home capture;
            location / { root $in; dav_methods PUT; log_not_found off; }
        }
HTTP

for my $name (qw(web kernel lwip)) {
    $host{$name} = $lab->host($name);
    $host{$name}->block_udp;
}

for my $name (qw(kernel lwip web)) {
    my $nginx = $lab->nginx(host => $host{$name}, module => 1);

    $nginx->configure(
        main => $nginx->tailnet_block($control, $auth_key,
            hostname => $name,
            extra => $name eq 'lwip' ? "stack lwip; advertise_routes $NET.0/24;"
                : 'accept_routes on;'),
        http => <<"HTTP");
        client_max_body_size 0;
        server { listen 80 tailnet=home; }
        server {
            listen 8000;
            location /kernel/ { proxy_pass http://kernel/; }
            location /lwip/ { proxy_pass http://lwip/; }
            location /behind/ { proxy_pass http://behind/; }
        }
        upstream kernel { server kernel:80 tailnet=home; }
        upstream lwip { server lwip:80 tailnet=home; }
        upstream behind { server $NET.2:81 tailnet=home; }
        @{[$name eq 'lwip' ? $BEHIND : '']}
HTTP
    symlink $file, $nginx->prefix . '/html/file' or die "file: $!\n";
    $nginx->start;
    $nginx{$name} = $nginx;
}

for my $name (qw(kernel lwip)) {
    my $url = "http://127.0.0.1:8000/$name/file";

    $lab->wait_for(30, "$name answers", sub {
        $host{web}->get($url, args => ['-r', '0-9'])->{status} == 206
    });

    # The first download asks whether they may be longer, and they are so
    # only where much goes.

    my $mean = download($host{web}, $url, "from $name");

    for (1 .. 4) {
        $mean = download($host{web}, $url, 'again');
        last if $mean > 2500;
    }

    cmp_ok($mean, '>', 2500, 'in packets of several segments');
}

$control->wait_routes('lwip', 1, 20);
$control->approve_routes('lwip', "$NET.0/24");

my $behind = 'http://127.0.0.1:8000/behind/file';

$lab->wait_for(30, 'what is behind answers', sub {
    $host{web}->get($behind, args => ['-r', '0-9'])->{status} =~ /^(?:404|206)/
});

my $mean;

for (1 .. 5) {
    my $before = packets();
    my $got = $host{web}->get($behind, args => ['-T', $file], timeout => 60);

    $mean = $SIZE / (packets() - $before);

    is(-e "$in/file" ? sum("$in/file") : '', $sum, 'behind lwip: every byte')
        or diag("$got->{status} $got->{error}");
    note(sprintf '%d bytes a packet, %.2f s', $mean, $got->{time});
    unlink "$in/file";
    last if $mean > 2500;
}

cmp_ok($mean, '>', 2500, 'in packets of several segments');

my $peer = $lab->tailscaled(host => $lab->host('peer'));

$peer->host->block_udp;
$peer->up(control => $control, auth_key => $auth_key);
$peer->wait_peer('kernel', 20);
is($peer->wait_path('kernel', qr/derp/)->{path}, 'derp-lab1',
   'a real tailscaled, by DERP too');

for (1 .. 2) {
    cmp_ok(download($peer->host, 'http://kernel/file', 'to tailscaled'), '<',
           1400, 'in packets of one segment');
}

for my $name (qw(kernel lwip web)) {
    is_deeply([grep { !/no peer is called or routes/ }
               $nginx{$name}->errors(qr/\[(?:error|crit|alert|emerg)\]/)],
              [], "$name: no error in the log");
    $nginx{$name}->quit;
}

done_testing();


# The mean length of what derper got meanwhile, acknowledgments included.

sub download {
    my ($host, $url, $name) = @_;
    my $out = $lab->path('out');
    my $before = packets();
    my $got = $host->get($url, out => $out, timeout => 60);
    my $after = packets();

    is(-e $out ? sum($out) : '', $sum, "$name: every byte")
        or diag($got->{error});
    unlink $out;

    my $mean = $SIZE / ($after - $before);

    note(sprintf '%d bytes a packet, %.2f s', $mean, $got->{time});

    return $mean;
}


sub packets {
    my $name = $derper->{name};
    my $got = $infra->get("https://$name/debug/vars",
                          args => ['-k', '--resolve', "$name:443:127.0.0.1"]);

    return JSON::PP::decode_json($got->{body})->{derp}{packets_received};
}


sub sum {
    my ($path) = @_;
    my ($sum) = split ' ', $lab->run('sha256sum', $path);

    return $sum;
}
