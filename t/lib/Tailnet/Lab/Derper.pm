package Tailnet::Lab::Derper;

# A real derper with STUN: a DERP region of the lab, or one node of it.

use strict;
use warnings;

use Carp qw(croak);
use JSON::PP ();


# new($lab, host => $host, region => 901, code => 'lab', tls => 1, port => ...)
#   tls: a certificate of the lab's CA; 0 for plain http, for which tailscaled
#        must be started with derp_http => 1
#   node: 'b' for the second of a region, and so on
#   mesh => [$name, ...]: the names of all nodes of the region, that is
#        name($code, $node); the hosts have to know their addresses

sub new {
    my ($class, $lab, %opt) = @_;
    my $host = $opt{host} // croak 'derper needs a host';

    my $self = bless {
        lab    => $lab,
        host   => $host,
        region => $opt{region} // 901,
        tls    => $opt{tls} // 1,
    }, $class;

    $self->{code} = $opt{code} // 'lab' . ($self->{region} - 900);
    $self->{node} = $opt{node} // 'a';
    $self->{mesh} = $opt{mesh};
    $self->{name} = name(@{$self}{qw(code node)});
    $self->{port} = $opt{port} // ($self->{tls} ? 443 : 3340);
    $self->{stun_port} = $opt{stun_port} // 3478;
    $self->{process_name} = 'derper-' . $self->{name} =~ s/\..*//r;
    $self->{dir} = $lab->path($self->{process_name});

    mkdir $self->{dir} or croak "$self->{dir}: $!";

    $lab->ca->issue($self->{dir}, $self->{name}, $host->ip4, $host->ip6)
        if $self->{tls};

    $self->start;

    return $self;
}


# The host name of a region's node.

sub name {
    my ($code, $node) = @_;
    return $code . ($node eq 'a' ? '' : $node) . '.derp.test';
}


# Again after its process was stopped or killed.

sub start {
    my ($self) = @_;
    my $dir = $self->{dir};

    my @tls = $self->{tls}
        ? ('--certmode=manual', "--certdir=$dir") : ();

    push @tls, '--mesh-with=' . join(',', @{$self->{mesh}}),
        '--mesh-psk-file=' . $self->{lab}->write_file("$dir/mesh.key",
                                                      'ab' x 32)
        if $self->{mesh};

    $self->{process} = $self->{host}->start($self->{process_name},
        [$self->{lab}->bin('derper'), "--hostname=$self->{name}", @tls,
         '-a', ":$self->{port}", '-c', "$dir/derper.key", '--http-port=-1',
         '--stun', "--stun-port=$self->{stun_port}", '--home=blank'],
        env => { HOME => $dir, SSL_CERT_FILE => $self->{lab}->ca->cert });

    $self->{process}->wait_until(10, 'the port',
        sub { $self->{host}->accepts($self->{port}) });
}


sub process { return $_[0]{process} }
sub stop { return $_[0]{process}->stop }
sub region { return $_[0]{region} }


# This region as the DERP map has it.

sub derp_region {
    my ($self) = @_;

    return {
        RegionID   => $self->{region} + 0,
        RegionCode => $self->{code},
        RegionName => "Lab $self->{code}",
        Nodes      => [{
            Name     => "$self->{region}$self->{node}",
            RegionID => $self->{region} + 0,
            HostName => $self->{name},
            IPv4     => $self->{host}->ip4,
            IPv6     => $self->{host}->ip6,
            DERPPort => $self->{port} + 0,
            STUNPort => $self->{stun_port} + 0,
        }],
    };
}


# A DERP map with these derpers, in tailcfg's JSON form.

sub derp_map {
    my (@derpers) = @_;
    my %regions;

    for my $derper (@derpers) {
        my $region = $derper->derp_region;
        my $first = $regions{$derper->region} //= $region;

        push @{$first->{Nodes}}, @{$region->{Nodes}} if $first != $region;
    }

    return { Regions => \%regions };
}


# The same into a file; returns its path.

sub write_map {
    my ($lab, $path, @derpers) = @_;
    my $json = JSON::PP->new->canonical->pretty;

    return $lab->write_file($path, $json->encode(derp_map(@derpers)));
}


1;
